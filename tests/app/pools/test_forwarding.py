"""A request for another pool's model arrives there as it was sent, and so does the answer here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from adapters_registry.testing import until
from app.pools.directory import Pool
from app.pools.recording import MEMORY_BYTES
from deploy.quickstart.ports import free_port
from tests.app.pools.sites import HERE, MODEL, Front, files, fine, front_of, two_pools

EVENTS = [b'data: {"n": 1}\n\n', b'data: {"n": 2}\n\n', b"data: [DONE]\n\n"]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


async def test_method_path_query_headers_and_body_arrive_as_they_were_sent(tmp_path: Path) -> None:
    headers = {"authorization": "Bearer gsk_x", "idempotency-key": "k", "x-many": "a, b"}
    async with two_pools(fine(), tmp_path) as (client, front, upstream):
        answer = await client.put("/x/ft%3Abase%2Fx?a=%2F&b", headers=headers, content=b"body")
    [asked] = upstream.asked
    assert answer.json() == {"fine": True}
    assert (asked.method, asked.target) == ("PUT", "/x/ft%3Abase%2Fx?a=%2F&b")
    assert asked.body == b"body"
    assert asked.header[b"content-length"] == b"4"
    for name, value in headers.items():
        assert asked.header[name.encode()] == value.encode()
    assert asked.header[b"host"].decode() == front.pool.name
    assert asked.header[b"x-lora-api-forwarded"] == b"1"
    assert front.outcomes() == {"answered": 1}


async def test_each_request_has_a_connection_for_replicas_to_share(tmp_path: Path) -> None:
    async with two_pools(fine(), tmp_path) as (client, _, upstream):
        for _ in range(3):
            await client.post("/x", content=b"{}")
    assert len({asked.port for asked in upstream.asked}) == 3


async def test_a_path_cannot_name_another_host(tmp_path: Path) -> None:
    async with two_pools(fine(), tmp_path) as (client, _, upstream):
        url = client.base_url.copy_with(raw_path=b"//127.0.0.1:1/x")
        answer = await client.get(url)
    assert answer.status_code == 200
    assert upstream.asked[0].target == "//127.0.0.1:1/x"


async def test_a_request_without_body_stays_without(tmp_path: Path) -> None:
    async with two_pools(fine(), tmp_path) as (client, _, upstream):
        await client.get("/x")
    header = upstream.asked[0].header
    assert b"content-length" not in header
    assert b"transfer-encoding" not in header


async def test_status_headers_and_body_come_back(tmp_path: Path) -> None:
    body = b'{"error": {"message": "slow down"}}'
    answered = Response(body, 429, {"retry-after": "7", "x-request-id": "req_theirs"})
    async with two_pools(answered, tmp_path) as (client, _, _):
        answer = await client.post("/x", content=b"{}")
    assert (answer.status_code, answer.content) == (429, body)
    assert answer.headers["retry-after"] == "7"
    assert answer.headers.get_list("x-request-id") == ["req_theirs"]
    assert len(answer.headers.get_list("date")) == 1
    assert answer.headers["content-length"] == str(len(body))


@pytest.mark.parametrize("status", [400, 401, 404, 413, 498, 500, 503])
async def test_errors_of_the_other_pool_are_its_own(tmp_path: Path, status: int) -> None:
    async with two_pools(Response(b"theirs", status), tmp_path) as (client, front, upstream):
        answer = await client.post("/x", content=b"{}")
    assert (answer.status_code, answer.content) == (status, b"theirs")
    assert len(upstream.asked) == 1
    assert front.outcomes() == {"answered": 1}


async def test_redirects_are_not_followed(tmp_path: Path) -> None:
    away = RedirectResponse("http://127.0.0.1:1/")
    async with two_pools(away, tmp_path) as (client, _, _):
        answer = await client.get("/x")
    assert answer.status_code == 307
    assert answer.headers["location"] == "http://127.0.0.1:1/"


@pytest.mark.parametrize("size", [1, MEMORY_BYTES, MEMORY_BYTES + 1, 5 * MEMORY_BYTES + 3])
async def test_a_body_of_any_size_arrives_and_leaves_no_file(tmp_path: Path, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with two_pools(fine(), tmp_path) as (client, front, upstream):
        answer = await client.post("/x", content=body)
    assert answer.status_code == 200
    assert upstream.asked[0].body == front.read[0] == body
    assert files(tmp_path) == []


async def test_what_was_not_read_yet_arrives_too(tmp_path: Path) -> None:
    async def first_piece(request: Request) -> bytes:
        return await anext(request.stream())

    async with two_pools(fine(), tmp_path) as (client, front, upstream):
        front.reads = first_piece
        answer = await client.post("/x", content=pieces(b"a" * 70_000, b"b" * 70_000, b"c"))
    assert answer.status_code == 200
    assert upstream.asked[0].body == b"a" * 70_000 + b"b" * 70_000 + b"c"
    assert len(front.read[0]) < len(upstream.asked[0].body)


async def test_a_body_of_no_told_length_arrives_in_chunks(tmp_path: Path) -> None:
    async with two_pools(fine(), tmp_path) as (client, _, upstream):
        await client.post("/x", content=pieces(b"one", b"two"))
    assert upstream.asked[0].body == b"onetwo"
    assert upstream.asked[0].header[b"transfer-encoding"] == b"chunked"


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


async def test_what_is_answered_here_is_not_passed_on(tmp_path: Path) -> None:
    async with two_pools(fine(), tmp_path) as (client, front, upstream):
        answer = await client.post(HERE, content=b"x" * (MEMORY_BYTES + 1))
    assert answer.json() == {"read": MEMORY_BYTES + 1}
    assert upstream.asked == []
    assert front.outcomes() == {}
    assert files(tmp_path) == []


async def test_uploads_of_files_are_not_kept(tmp_path: Path) -> None:
    kept: list[Path] = []

    async def look(request: Request) -> bytes:
        body = await request.body()
        kept.extend(files(tmp_path))
        return body

    async with two_pools(fine(), tmp_path / "none") as (client, front, _):
        front.reads = look
        answer = await client.post(f"{HERE}/v1/files", content=b"x" * (2 * MEMORY_BYTES))
    assert answer.json() == {"read": 2 * MEMORY_BYTES}
    assert kept == []


async def test_a_full_disk_harms_no_request_that_is_answered_here(tmp_path: Path) -> None:
    content = b"x" * (2 * MEMORY_BYTES)
    async with two_pools(fine(), tmp_path / "none") as (client, front, upstream):
        here = await client.post(HERE, content=content)
        there = await client.post("/there", content=content)
    assert here.status_code == 200
    assert there.status_code == 503
    assert upstream.asked == []
    assert front.outcomes() == {"lost": 1}


async def test_a_request_that_was_passed_on_is_not_passed_on_again(tmp_path: Path) -> None:
    async with two_pools(fine(), tmp_path) as (client, front, upstream):
        answer = await client.post("/x", headers={"X-LoRA-API-Forwarded": "1"}, content=b"{}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert MODEL in answer.json()["error"]["message"]
    assert upstream.asked == []
    assert front.outcomes() == {}


async def test_events_come_as_they_are_sent(tmp_path: Path) -> None:
    seen = asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for event in EVENTS:
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await seen.wait()
            seen.clear()
        await send({"type": "http.response.body"})

    came = []
    async with (
        two_pools(stream, tmp_path) as (client, _, _),
        client.stream("POST", "/x", content=b"{}") as answer,
    ):
        async for piece in answer.aiter_raw():
            came.append(piece)
            seen.set()
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert came == EVENTS


@pytest.mark.parametrize("has_begun", [True, False])
async def test_a_client_that_leaves_ends_it_at_the_other_pool(
    tmp_path: Path, has_begun: bool
) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        if has_begun:
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": EVENTS[0], "more_body": True})
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    async with two_pools(endless, tmp_path) as (client, front, _):
        reading = asyncio.create_task(client.post("/x", content=b"{}"))
        await asked.wait()
        if has_begun:
            await until(lambda: front.read)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        async with asyncio.timeout(5):
            await left.wait()
        await until(front.outcomes)
        # Whether an answer had begun is as the front saw it.
        assert front.outcomes().keys() <= ({"answered", "left"} if has_begun else {"left"})


async def test_a_pool_that_is_not_there_is_a_503_to_try_again(tmp_path: Path) -> None:
    front = Front(Pool(f"http://127.0.0.1:{free_port()}", (MODEL,)), tmp_path)
    async with front.running() as client:
        answer = await client.post("/x", content=b"{}")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.json()["error"]["type"] == "internal_server_error"
    assert "127.0.0.1" not in answer.text
    assert front.outcomes() == {"unreachable": 1}


async def test_a_pool_that_is_lost_before_it_answers_is_not_asked_twice(tmp_path: Path) -> None:
    asked = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readexactly(2))

    async with front_of(hang_up, tmp_path) as (client, front):
        answer = await client.post("/x", content=b"{}")
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert asked == [b"{}"]
    assert front.outcomes() == {"lost": 1}


async def test_a_stream_that_is_lost_ends_with_an_error_behind_its_last_whole_event(
    tmp_path: Path,
) -> None:
    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % b"text/event-stream" + chunk(EVENTS[0] + b'data: {"n"'))
        await writer.drain()
        await asyncio.sleep(0.05)  # what is aborted is not sent

    async with front_of(half, tmp_path) as (client, front):
        answer = await client.post("/x", content=b"{}")
    first, error, rest = answer.content.split(b"\n\n")
    assert first + b"\n\n" == EVENTS[0]
    assert error.startswith(b'event: error\ndata: {"error": {"message"')
    assert rest == b""
    assert front.outcomes() == {"broken": 1}


@pytest.mark.parametrize("told", [b"transfer-encoding: chunked", b"content-length: 99"])
async def test_any_other_body_that_is_lost_has_no_end(tmp_path: Path, told: bytes) -> None:
    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        piece = chunk(b"{") if told.endswith(b"chunked") else b"{"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + told)
        writer.write(b"\r\n\r\n" + piece)
        await writer.drain()
        await asyncio.sleep(0.05)  # what is aborted is not sent

    async with front_of(half, tmp_path) as (client, front):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/x", content=b"{}")
    assert front.outcomes() == {"broken": 1}


async def test_a_pool_that_answers_before_it_has_read_is_heard(tmp_path: Path) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 No\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
        await writer.drain()
        writer.write_eof()
        await asyncio.sleep(0.05)

    async with front_of(refuse, tmp_path) as (client, _):
        answer = await client.post("/x", content=b"x" * 1000)
    assert (answer.status_code, answer.content) == (413, b"big")
