"""What only an S3 store can meet: a server that is gone, refuses, stalls or lies."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adapters_registry.errors import ObjectNotFound, StoreUnavailable
from adapters_registry.s3 import S3Store
from adapters_registry.s3_download import PART_BYTES
from adapters_registry.s3_http import DEFAULT_PATIENCE, Patience
from tests.fixtures.seaweedfs import running_seaweedfs

QUICKLY_SECONDS = 10.0
CONTENT = bytes(range(100))

Answer = Callable[[BaseHTTPRequestHandler], None]


def reply(status: int, body: bytes = b"", *, claimed: int | None = None) -> Answer:
    """Send `body` under a Content-Length of `claimed`, then close the connection."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body) if claimed is None else claimed))
        request.send_header("ETag", '"e"')
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)
        request.close_connection = True

    return answer


def failure(status: int, code: str, message: str = "text of this store") -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return reply(status, body.encode())


class LyingServer(ThreadingHTTPServer):
    """An S3 endpoint that answers each method as it was told to, and notes what was asked."""

    daemon_threads = True

    def __init__(self, **answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.paths: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: LyingServer
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def answer(self) -> None:
        self.server.paths.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.answers[self.command](self)

    do_GET = do_HEAD = do_PUT = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def lying(**answers: Answer) -> Iterator[LyingServer]:
    with LyingServer(**answers) as server:
        thread = threading.Thread(target=partial(server.serve_forever, 0.02))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def url(server: LyingServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def store_at(port: int, patience: Patience = DEFAULT_PATIENCE) -> S3Store:
    endpoint_url = f"http://127.0.0.1:{port}"
    return S3Store("bucket", endpoint_url=endpoint_url, region="us-east-1", patience=patience)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")


@pytest.fixture
async def no_server() -> AsyncIterator[S3Store]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = store_at(unused.getsockname()[1])
        yield store
        await store.close()


@contextmanager
def quickly() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < QUICKLY_SECONDS


async def first_chunk(store: S3Store) -> bytes:
    return await anext(store.read("a"))


async def collect(store: S3Store, received: list[bytes]) -> None:
    async for chunk in store.read("a", chunk_bytes=20):
        received.append(chunk)


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def first_listed(store: S3Store) -> object:
    return await anext(store.list("a/"))


async def write(store: S3Store, content: bytes) -> None:
    async with store.writer("a") as writer:
        await writer.write(content)
        await writer.commit()


CALLS: dict[str, Callable[[S3Store, Path], object]] = {
    "put": lambda store, path: store.put("a", path),
    "get": lambda store, path: store.get("a", path.with_name("back")),
    "read": lambda store, _: first_chunk(store),
    "delete": lambda store, _: store.delete("a"),
    "list": lambda store, _: first_listed(store),
    "check": lambda store, _: store.check(),
    "write": lambda store, _: write(store, CONTENT),
    "tidy": lambda store, _: store.tidy(1.0),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_no_server_is_said_quickly(
    call: Callable[..., object], no_server: S3Store, source: Path
) -> None:
    with quickly(), pytest.raises(StoreUnavailable) as caught:
        await call(no_server, source)  # type: ignore[misc]

    assert caught.value.__cause__ is not None
    assert "127.0.0.1" not in str(caught.value)


async def test_server_that_stops_between_two_calls_is_said_quickly(
    tmp_path: Path, source: Path
) -> None:
    with running_seaweedfs(tmp_path / "weed") as server:
        store = S3Store(server.bucket, endpoint_url=server.endpoint_url)
        await store.put("a", source)
        server.stop()
        with quickly(), pytest.raises(StoreUnavailable):
            await store.get("a", tmp_path / "back")
        await store.close()

    assert not (tmp_path / "back").exists()


async def test_missing_bucket_is_unavailable_and_not_a_missing_object(
    tmp_path: Path, source: Path
) -> None:
    with lying(GET=failure(404, "NoSuchBucket"), PUT=failure(404, "NoSuchBucket")) as server:
        store = store_at(server.server_port)
        for name in ("put", "read", "list", "check"):
            with pytest.raises(StoreUnavailable):
                await CALLS[name](store, source)  # type: ignore[misc]
        await store.close()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("status", [403, 500, 503])
async def test_refusal_is_unavailable_after_few_attempts(
    status: int, call: Callable[..., object], source: Path
) -> None:
    answers = dict.fromkeys(("GET", "HEAD", "PUT", "DELETE"), failure(status, "NoSuchThing"))
    with lying(**answers) as server:
        store = store_at(server.server_port)
        with quickly(), pytest.raises(StoreUnavailable):
            await call(store, source)  # type: ignore[misc]
        await store.close()

    # An attempt whose connection breaks counts for the client and never reaches the server.
    assert len(server.paths) in ({1} if status == 403 else range(2, DEFAULT_PATIENCE.attempts + 1))


async def test_missing_object_is_known_by_code_whatever_the_text(tmp_path: Path) -> None:
    answers = {"GET": failure(404, "NoSuchKey", "nichts da"), "HEAD": reply(404)}
    with lying(**answers) as server:
        store = store_at(server.server_port)
        with pytest.raises(ObjectNotFound):
            await first_chunk(store)
        with pytest.raises(ObjectNotFound):
            await store.get("a", tmp_path / "back")
        await store.close()


async def test_text_about_a_missing_key_under_another_code_is_not_believed() -> None:
    with lying(GET=failure(400, "InvalidRequest", "NoSuchKey: Not Found 404")) as server:
        store = store_at(server.server_port)
        with pytest.raises(StoreUnavailable):
            await first_chunk(store)
        await store.close()


@pytest.mark.parametrize("claimed", [60, 100], ids=["with its own length", "with the full length"])
async def test_short_body_never_becomes_a_file(claimed: int, tmp_path: Path) -> None:
    head, body = reply(200, claimed=100), reply(200, CONTENT[:60], claimed=claimed)
    with lying(HEAD=head, GET=body) as server:
        store = store_at(server.server_port)
        with quickly(), pytest.raises(StoreUnavailable):
            await store.get("a", tmp_path / "back")
        await store.close()

    assert names_in(tmp_path) == []


async def test_short_body_ends_a_read_with_an_error() -> None:
    with lying(GET=reply(200, CONTENT[:60], claimed=100)) as server:
        store = store_at(server.server_port)
        received: list[bytes] = []
        with pytest.raises(StoreUnavailable):
            await collect(store, received)
        await store.close()

    assert b"".join(received) == CONTENT[:60]


async def test_old_file_survives_a_failed_get(tmp_path: Path) -> None:
    (tmp_path / "back").write_bytes(b"old")
    with lying(HEAD=reply(200, claimed=100), GET=reply(200, CONTENT[:60])) as server:
        store = store_at(server.server_port)
        with pytest.raises(StoreUnavailable):
            await store.get("a", tmp_path / "back")
        await store.close()

    assert (tmp_path / "back").read_bytes() == b"old"


@pytest.mark.parametrize("body", [b"", b"<html>login</html>", b"<ListBucketResult><Cont"])
async def test_answer_that_is_no_listing_is_not_an_empty_store(body: bytes) -> None:
    with lying(GET=reply(200, body)) as server:
        store = store_at(server.server_port)
        with quickly(), pytest.raises(StoreUnavailable):
            await first_listed(store)
        await store.close()


async def test_names_of_others_that_are_no_keys_are_left_out() -> None:
    names = ("a/good", "a/", "a/with space", "a//b", "a/../../b")
    entries = "".join(
        f'<Contents><Key>{name}</Key><Size>1</Size><ETag>"e"</ETag></Contents>' for name in names
    )
    listing = f"<IsTruncated>false</IsTruncated>{entries}"
    body = f"<ListBucketResult>{listing}</ListBucketResult>".encode()
    with lying(GET=reply(200, body)) as server:
        store = store_at(server.server_port)
        found = [info.key async for info in store.list("a/")]
        await store.close()

    assert found == ["a/good"]


async def test_stalled_server_is_given_up(tmp_path: Path) -> None:
    released = threading.Event()
    with lying(GET=lambda _: released.wait(QUICKLY_SECONDS * 2) and None) as server:
        store = store_at(server.server_port, Patience(silence_seconds=0.2))
        with quickly(), pytest.raises(StoreUnavailable):
            await store.check()
        released.set()
        await store.close()


def drip_a_list(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    for _ in range(1000):
        request.wfile.write(b"<")
        time.sleep(0.05)


async def test_answer_that_drips_is_given_up_though_it_is_never_silent() -> None:
    with lying(GET=drip_a_list) as server:
        store = store_at(server.server_port, Patience(grace_seconds=0.3, attempts=1))
        with quickly(), pytest.raises(StoreUnavailable):
            await first_listed(store)
        await store.close()


@pytest.mark.parametrize("call", ["put", "write"])
async def test_upload_that_is_read_too_slowly_is_given_up(call: str, tmp_path: Path) -> None:
    content = bytes(6 << 20)
    source = tmp_path / "source"
    source.write_bytes(content)

    async def read_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while chunk := await reader.read(1 << 16):  # noqa: ASYNC110 - slowness is the point
            await asyncio.sleep(len(chunk) / 600_000)
        writer.close()

    patience = Patience(silence_seconds=3.0, grace_seconds=0.3, bytes_per_second=1 << 30)
    async with await asyncio.start_server(read_slowly, "127.0.0.1", 0, limit=1 << 16) as server:
        store = store_at(server.sockets[0].getsockname()[1], patience)
        with quickly(), pytest.raises(StoreUnavailable):
            await (store.put("a", source) if call == "put" else write(store, content))
        await store.close()


async def test_answer_that_is_not_the_range_asked_for_is_refused() -> None:
    with lying(GET=reply(200, CONTENT)) as server:
        store = store_at(server.server_port)
        with pytest.raises(StoreUnavailable):
            await anext(store.read("a", start=10, length=5))
        await store.close()


async def test_body_longer_than_the_object_never_becomes_a_file(tmp_path: Path) -> None:
    with lying(HEAD=reply(200, claimed=60), GET=reply(200, CONTENT)) as server:
        store = store_at(server.server_port)
        with quickly(), pytest.raises(StoreUnavailable):
            await store.get("a", tmp_path / "back")
        await store.close()

    assert names_in(tmp_path) == []


async def test_closing_the_store_ends_its_downloads(tmp_path: Path) -> None:
    size = 40 * PART_BYTES  # more parts than threads: some have not begun
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def drip(request: BaseHTTPRequestHandler) -> None:
        loop.call_soon_threadsafe(asked.set)
        reply(206, b"x" * 10, claimed=PART_BYTES)(request)
        for _ in range(100):
            time.sleep(0.05)
            request.wfile.write(b"x")

    with lying(HEAD=reply(200, claimed=size), GET=drip) as server:
        store = store_at(server.server_port)
        getting = asyncio.create_task(store.get("a", tmp_path / "back"))
        await asked.wait()
        with quickly():
            await store.close()
            with pytest.raises(StoreUnavailable):
                await getting

    assert names_in(tmp_path) == []


@pytest.mark.parametrize("prefix", ["../", "a b", "/", "/abs"])
def test_prefix_outside_the_rule_is_refused_at_once(prefix: str) -> None:
    with pytest.raises(ValueError, match="not an object prefix"):
        S3Store("bucket", prefix=prefix)


@pytest.mark.parametrize("prefix", ["team/lora", "team/lora/"])
async def test_prefix_stands_before_each_key(prefix: str) -> None:
    with lying(DELETE=reply(204)) as server:
        store = S3Store("bucket", prefix=prefix, endpoint_url=url(server), region="us-east-1")
        await store.delete("a/b")
        await store.close()

    assert server.paths == ["/bucket/team/lora/a/b"]
