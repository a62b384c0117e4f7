"""Uploads with an Idempotency-Key, over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import openai
import pytest

from adapters_registry.directory import DirectoryStore
from adapters_registry.store import ObjectWriter
from tests.app.api.files.test_router import BATCH
from tests.app.api.files.test_service import keys

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


async def post(http: httpx.AsyncClient, content: bytes = BATCH) -> httpx.Response:
    form = {"file": ("a.jsonl", content)}
    return await http.post("/files", data={"purpose": "batch"}, files=form, headers=KEY)


async def test_fifty_posts_at_once_make_one_file_and_get_one_body(
    http: httpx.AsyncClient,
    store: DirectoryStore,
) -> None:
    answers = await asyncio.gather(*(post(http) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len((await http.get("/files")).json()["data"]) == 1
    assert len(await keys(store)) == 1


async def test_other_content_under_the_key_is_a_409_that_sdks_do_not_repeat(
    http: httpx.AsyncClient,
) -> None:
    await post(http)
    answer = await post(http, b"other")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "idempotency_key_reused"
    assert answer.headers["x-should-retry"] == "false"


async def test_the_same_key_of_another_organisation_makes_another_file(
    http: httpx.AsyncClient,
    other: httpx.AsyncClient,
) -> None:
    ids = [(await post(client)).json()["id"] for client in (http, other, http)]
    assert ids[0] == ids[2] != ids[1]


async def test_the_openai_sdk_sends_the_key_as_an_extra_header(
    openai_sdk: openai.AsyncOpenAI,
) -> None:
    made = [
        await openai_sdk.files.create(file=("a.jsonl", BATCH), purpose="batch", extra_headers=KEY)
        for _ in range(2)
    ]
    assert made[0] == made[1]
    with pytest.raises(openai.ConflictError):
        await openai_sdk.files.create(file=("b.jsonl", BATCH), purpose="batch", extra_headers=KEY)


async def test_a_malformed_key_is_refused_before_the_body_is_read(
    http: httpx.AsyncClient,
) -> None:
    answer = await http.post("/files", content=b"no form", headers={"Idempotency-Key": "x" * 256})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Idempotency-Key"


class SlowStore(DirectoryStore):
    """A store whose commits take until `go_on`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def writer(self, key: str) -> AsyncIterator[ObjectWriter]:
        async with super().writer(key) as writer:
            yield SlowWriter(self, writer)


class SlowWriter:
    def __init__(self, store: SlowStore, writer: ObjectWriter) -> None:
        self._store = store
        self.write = writer.write
        self._commit = writer.commit

    async def commit(self) -> None:
        self._store.begun.set()
        await self._store.go_on.wait()
        await self._commit()


class TestWhileTheFirstRuns:
    """What a second post with its key sees."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> SlowStore:
        return SlowStore(tmp_path / "store")

    async def test_it_waits_and_answers_like_it(
        self, http: httpx.AsyncClient, store: SlowStore
    ) -> None:
        first = asyncio.create_task(post(http))
        await store.begun.wait()
        second = asyncio.create_task(post(http))
        done, _ = await asyncio.wait([second], timeout=0.05)
        assert not done
        store.go_on.set()
        assert (await first).content == (await second).content

    async def test_it_waits_no_longer_than_its_client(
        self,
        http: httpx.AsyncClient,
        transport: httpx.ASGITransport,
        mine: str,
        store: SlowStore,
        leftovers: Callable[[], list[Path]],
    ) -> None:
        first = asyncio.create_task(post(http))
        await store.begun.wait()
        form = {"file": ("a.jsonl", BATCH)}
        request = http.build_request(
            "POST", "/files", data={"purpose": "batch"}, files=form, headers=KEY
        )
        await call_and_leave(transport, request)
        assert len(leftovers()) == 1
        store.go_on.set()
        assert (await first).status_code == 200


async def call_and_leave(transport: httpx.ASGITransport, request: httpx.Request) -> None:
    """Send a request and hang up; return when the application has done with it."""
    body = await request.aread()
    messages: list[dict[str, object]] = [
        {"type": "http.request", "body": body, "more_body": False},
        {"type": "http.disconnect"},
    ]
    scope = {
        "type": "http",
        "method": request.method,
        "path": request.url.path,
        "raw_path": request.url.raw_path,
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    async def send(message: object) -> None:
        return None

    async with asyncio.timeout(10):
        await transport.app(scope, receive, send)
