"""The multipart reader: faithful, bounded, and without leftovers."""

import asyncio
import hashlib
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.errors import ApiError
from app.uploads import UploadForm, receive_upload
from tests.app.multipart import BOUNDARY, CONTENT_TYPE, FILE, body, field, files_in, part, streamed

MAX_BYTES = 4 << 20
Received = tuple[str, int, str, bytes, dict[str, str]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(autouse=True)
def _nothing_is_left(directory: Path) -> Iterator[None]:
    yield
    assert files_in(directory) == []


async def receive(
    chunks: Iterable[bytes], directory: Path, *, max_bytes: int = MAX_BYTES, **headers: str
) -> Received:
    form = UploadForm(max_bytes, frozenset({"purpose"}))
    named = {"content-type": CONTENT_TYPE}
    named.update({name.replace("_", "-"): value for name, value in headers.items()})
    async with receive_upload(streamed(chunks), named, form, directory) as upload:
        assert upload.path.parent == directory
        content = upload.path.read_bytes()
        return upload.filename, upload.size, upload.sha256, content, dict(upload.fields)


async def refusal(chunks: Iterable[bytes], directory: Path, **options: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await receive(chunks, directory, **options)  # type: ignore[arg-type]
    return caught.value


async def outcome(chunks: Iterable[bytes], directory: Path, **headers: str) -> str | int:
    try:
        await receive(chunks, directory, **headers)  # type: ignore[arg-type]
    except ApiError as error:
        return error.status
    return "received"


async def test_a_file_arrives_with_its_name_size_hash_and_fields(directory: Path) -> None:
    content = b"\r\n--" + bytes(range(256)) * 10_000
    form = body(field("purpose", "batch"), part(FILE, content, "Content-Type: a/b"))
    received = await receive([form], directory)
    digest = hashlib.sha256(content).hexdigest()
    assert received == ("a.zip", len(content), digest, content, {"purpose": "batch"})


async def test_fields_may_come_after_the_file(directory: Path) -> None:
    received = await receive([body(part(FILE, b"PK"), field("purpose", "x"))], directory)
    assert received[3:] == (b"PK", {"purpose": "x"})


async def test_what_httpx_and_so_the_sdks_send_is_understood(directory: Path) -> None:
    request = httpx.Request(
        "POST", "http://x", files={"file": ("dé ü.jsonl", b"{}")}, data={"purpose": "batch"}
    )
    received = await receive(
        [request.read()], directory, content_type=request.headers["content-type"]
    )
    assert (received[0], received[3], received[4]) == ("dé ü.jsonl", b"{}", {"purpose": "batch"})


TRICKY = (b"\r\n--", BOUNDARY.encode(), b"\r", b"\n", b"-", b"--", b"PK", b"\0", b"\r\n--xYzZy")


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    pieces = draw(st.lists(st.sampled_from(TRICKY) | st.binary(max_size=20), max_size=30))
    content = b"".join(pieces)
    return content.replace(b"\r\n--" + BOUNDARY.encode(), b"")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents(), st.lists(st.integers(0, 2000), max_size=40), st.booleans())
@example(b"\r\n--xYzZyXbOuNdAr", list(range(400)), True)
async def test_any_chunking_of_a_form_gives_the_same_file(
    directory: Path, content: bytes, cuts: list[int], file_first: bool
) -> None:
    if (b"\r\n--" + BOUNDARY.encode()) in b"\r\n" + content:
        content = b""
    parts = [part(FILE, content), field("purpose", "fine_tuning")]
    form = body(*(parts if file_first else parts[::-1]))
    places = sorted({0, len(form), *(cut for cut in cuts if cut < len(form))})
    chunks = [form[start:end] for start, end in pairwise(places)]
    received = await receive(chunks, directory)
    assert received[3:] == (content, {"purpose": "fine_tuning"})
    assert received[2] == hashlib.sha256(content).hexdigest()


GRAMMAR = (
    f"--{BOUNDARY}".encode(),
    f"--{BOUNDARY}\r\n".encode(),
    f"\r\n--{BOUNDARY}--".encode(),
    b"Content-Disposition: form-data; name=file; filename=x\r\n",
    b'Content-Disposition: form-data; name="purpose"\r\n\r\n',
    b'Content-Disposition: form-data; name="\xff"; filename*0="\r\n',
    b'Content-Disposition:;;=;"\\\r\n',
    b"\r\n\r\n",
    b"\r\n",
    b": ",
    b"\r",
)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(GRAMMAR) | st.binary(max_size=12), max_size=20))
async def test_garbage_gives_a_file_or_a_refusal_and_nothing_else(
    directory: Path, chunks: list[bytes]
) -> None:
    assert await outcome(chunks, directory) in ("received", 400, 413)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="latin-1"), max_size=60))
async def test_any_content_type_gives_a_file_or_a_refusal(directory: Path, tail: str) -> None:
    form = [body(part(FILE, b"x"))]
    content_type = CONTENT_TYPE + tail
    assert await outcome(form, directory, content_type=content_type) in ("received", 400)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 71,
        "multipart/form-data; boundary=" + "b" * 1_000_000,
        'multipart/form-data; boundary="a\r\nb"',
        "multipart/mixed; boundary=b",
    ],
)
async def test_a_body_without_a_usable_boundary_is_refused(
    directory: Path, content_type: str
) -> None:
    assert (await refusal([b""], directory, content_type=content_type)).status == 400


@pytest.mark.parametrize(
    "form",
    [
        b"",
        body(),
        body(field("purpose", "batch")),
        body(part(FILE, b"x"))[:-20],
        body(part(FILE, b"x")).replace(b"--" + BOUNDARY.encode() + b"--", b""),
        b"preamble" + body(part(FILE, b"x")),
        body(part("attachment; name=file; filename=x", b"x")),
        body(part("form-data; filename=x", b"x")),
        body(part('form-data; name="file"', b"no filename")),
        body(part(FILE, b"x", f"Content-Disposition: {FILE}")),
        body(part(FILE, b"x", *["X: y"] * 8)),
        body(part(FILE, b"x", "X: " + "y" * 9000)),
        body(part(b'form-data; name="file"; filename="\xff"', b"x")),
        body(part(b'form-data; name="\xff"', b"x")),
        body(part(FILE, b"x"), part('form-data; name="purpose"', b"\xff")),
        body(part(FILE, b"x"), field("purpose", "y" * (16 << 10) + "y")),
    ],
)
async def test_a_malformed_form_is_refused(directory: Path, form: bytes) -> None:
    error = await refusal([form], directory)
    assert (error.status, error.type) == (400, "invalid_request_error")


@pytest.mark.parametrize("name", ["model", "expires_after[anchor]", "File", "file\n", ""])
async def test_a_field_that_is_not_expected_is_refused_by_name(directory: Path, name: str) -> None:
    error = await refusal([body(part(FILE, b"x"), field(name, "1"))], directory)
    shown = name.replace("\n", "?")
    assert (error.status, error.message) == (400, f"property '{shown}' is unsupported")


async def test_the_name_of_a_refused_field_is_cut_short(directory: Path) -> None:
    error = await refusal([body(field("x" * 5000, "1"))], directory)
    assert len(error.message) < 200


@pytest.mark.parametrize("doubled", [part(FILE, b"y"), field("purpose", "b")])
async def test_a_part_that_comes_twice_is_refused(directory: Path, doubled: bytes) -> None:
    form = body(part(FILE, b"x"), field("purpose", "a"), doubled)
    assert "more than once" in (await refusal([form], directory)).message


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a b.zip", "a b.zip"),
        ('\\"quoted\\".zip', '"quoted".zip'),
        ("semi;colon=.zip", "semi;colon=.zip"),
        ("a%22b%0A.zip", "a%22b%0A.zip"),
        ("\u202egpj.zip", "\u202egpj.zip"),
        ("日本語🎉.zip", "日本語🎉.zip"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.zip", "a.zip"),
        ("x" * 255, "x" * 255),
    ],
)
async def test_a_filename_is_kept_without_its_directories(
    directory: Path, sent: str, kept: str
) -> None:
    form = body(part(f'form-data; name="file"; filename="{sent}"', b"x"))
    assert (await receive([form], directory))[0] == kept


@pytest.mark.parametrize(
    "filename",
    ["", ".", "..", "a/", "a\nb", "a\0b", "a\x1bb", "a\u0085b", "x" * 256, "é" * 256, "x" * 10_000],
)
async def test_a_filename_that_cannot_be_kept_is_refused(directory: Path, filename: str) -> None:
    form = body(part(f'form-data; name="file"; filename="{filename}"', b"x"))
    assert (await refusal([form], directory)).status == 400


async def test_a_file_of_exactly_the_largest_size_is_accepted(directory: Path) -> None:
    received = await receive([body(part(FILE, b"x" * 1000))], directory, max_bytes=1000)
    assert received[1] == 1000


async def test_a_file_one_byte_too_large_is_refused(directory: Path) -> None:
    error = await refusal([body(part(FILE, b"x" * 1001))], directory, max_bytes=1000)
    assert (error.status, error.param) == (413, "file")


@pytest.mark.parametrize("length", [str(1 << 30), "9" * 5000])
async def test_a_claimed_length_beyond_the_limit_is_refused_before_reading(
    directory: Path, length: str
) -> None:
    async def untouched() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    form = UploadForm(MAX_BYTES, frozenset())
    headers = {"content-type": CONTENT_TYPE, "content-length": length}
    with pytest.raises(ApiError) as caught:
        async with receive_upload(untouched(), headers, form, directory):
            pass
    assert caught.value.status == 413


@pytest.mark.parametrize("length", ["12", "-1", "x", "²", ""])
async def test_a_claimed_length_that_lies_changes_nothing(directory: Path, length: str) -> None:
    received = await receive([body(part(FILE, b"x" * 99))], directory, content_length=length)
    assert received[1] == 99


def endless(head: bytes, chunk: bytes) -> Iterator[bytes]:
    yield head
    while True:
        yield chunk


@pytest.mark.parametrize(
    ("head", "chunk", "status"),
    [
        (part(FILE, b"")[:-2], b"x" * 65536, 413),
        (part(FILE, b"")[:-2], f"\r\n--{BOUNDARY[:-1]}".encode() * 3000, 413),
        (part('form-data; name="purpose"', b"")[:-2], b"x" * 65536, 400),
        (f"--{BOUNDARY}\r\nX-Header: ".encode(), b"x" * 65536, 400),
        (f"--{BOUNDARY}\r\n".encode(), b"x" * 65536, 400),
        (body(part(FILE, b"x")), b"epilogue" * 8192, 413),
        (b"\r\n", b"\r\n" * 32768, 413),
        (b"", part('form-data; name="purpose"', b"x") * 1000, 400),
    ],
)
async def test_a_body_without_end_is_refused_in_bounded_memory_and_time(
    directory: Path, head: bytes, chunk: bytes, status: int
) -> None:
    tracemalloc.start()
    began = time.process_time()
    try:
        error = await refusal(endless(head, chunk), directory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.status == status
    assert peak < 8 << 20
    assert time.process_time() - began < 5


async def test_a_client_that_goes_away_leaves_no_file(directory: Path) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield part(FILE, b"x" * (3 << 20))
        assert len(files_in(directory)) == 1
        raise ConnectionResetError

    form = UploadForm(MAX_BYTES, frozenset())
    with pytest.raises(ConnectionResetError):
        async with receive_upload(cut(), {"content-type": CONTENT_TYPE}, form, directory):
            pass
    assert files_in(directory) == []


async def test_a_cancelled_upload_leaves_no_file(directory: Path) -> None:
    reading = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield part(FILE, b"x" * (3 << 20))
        reading.set()
        await asyncio.Event().wait()

    async def upload() -> None:
        form = UploadForm(MAX_BYTES, frozenset())
        async with receive_upload(slow(), {"content-type": CONTENT_TYPE}, form, directory):
            pass

    task = asyncio.ensure_future(upload())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files_in(directory) == []


async def test_a_failure_of_the_reader_s_caller_leaves_no_file(directory: Path) -> None:
    form = UploadForm(MAX_BYTES, frozenset())
    chunks = streamed([body(part(FILE, b"x"))])
    with pytest.raises(ZeroDivisionError):
        async with receive_upload(chunks, {"content-type": CONTENT_TYPE}, form, directory):
            raise ZeroDivisionError


async def test_the_file_is_readable_by_its_owner_only(directory: Path) -> None:
    form = UploadForm(MAX_BYTES, frozenset())
    chunks = streamed([body(part(FILE, b"x"))])
    async with receive_upload(chunks, {"content-type": CONTENT_TYPE}, form, directory) as upload:
        assert upload.path.stat().st_mode & 0o077 == 0


async def test_a_large_file_passes_in_bounded_memory_and_leaves_the_loop_free() -> None:
    async def large() -> AsyncIterator[bytes]:
        yield part(FILE, b"")[:-2]
        for _ in range(1024):
            yield b"x" * 65536
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.ensure_future(count())
    headers, form = {"content-type": CONTENT_TYPE}, UploadForm(1 << 30, frozenset())
    with tempfile.TemporaryDirectory() as directory:
        async with receive_upload(large(), headers, form, Path(directory)) as upload:
            assert upload.size == 64 << 20
    counter.cancel()
    assert turns > 64
