"""The drain gives running requests a deadline and an end that the client can see."""

import asyncio
import json

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.drain import Drain, DrainMiddleware, Stopping

SCOPE: Scope = {"type": "http", "method": "GET", "path": "/"}


async def no_request() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


class Recorder:
    """Collects what an application sends."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages)


async def start(send: Send, content_type: bytes) -> None:
    headers = [(b"content-type", content_type)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


async def endless_stream(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, b"text/event-stream; charset=utf-8")
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    await asyncio.Event().wait()


async def endless_download(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, b"application/octet-stream")
    await asyncio.Event().wait()


async def quick(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, b"text/plain")
    await send({"type": "http.response.body", "body": b"ok"})


async def run_until_drained(app: object, drain: Drain) -> Recorder:
    recorder = Recorder()
    middleware = DrainMiddleware(app, drain)  # type: ignore[arg-type]
    request = asyncio.create_task(middleware(SCOPE, no_request, recorder.send))
    await asyncio.sleep(0)
    drain.begin()
    await asyncio.wait_for(request, 5)
    return recorder


async def test_a_request_without_an_answer_gets_a_503_that_may_be_retried() -> None:
    recorder = await run_until_drained(silent, Drain(0))

    assert recorder.messages[0]["status"] == 503
    assert (b"retry-after", b"1") in recorder.messages[0]["headers"]
    assert json.loads(recorder.body)["error"]["type"] == "internal_server_error"


async def test_a_stream_ends_with_an_error_event() -> None:
    recorder = await run_until_drained(endless_stream, Drain(0))

    assert recorder.body.startswith(b"data: 1\n\nevent: error\ndata: {")
    assert recorder.body.endswith(b"}\n\n")
    assert not recorder.messages[-1].get("more_body", False)


async def test_a_download_is_left_visibly_short() -> None:
    recorder = await run_until_drained(endless_download, Drain(0))

    assert recorder.body == b""


async def test_a_request_that_ends_in_time_is_untouched() -> None:
    drain, recorder = Drain(60), Recorder()
    drain.begin()

    await DrainMiddleware(quick, drain)(SCOPE, no_request, recorder.send)

    assert recorder.body == b"ok"


async def test_a_request_that_comes_after_the_deadline_is_refused() -> None:
    drain, recorder = Drain(0), Recorder()
    drain.begin()

    await DrainMiddleware(silent, drain)(SCOPE, no_request, recorder.send)

    assert recorder.messages[0]["status"] == 503


async def test_a_timeout_of_the_application_itself_is_not_the_drain() -> None:
    async def times_out(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await DrainMiddleware(times_out, Drain(60))(SCOPE, no_request, Recorder().send)


async def test_a_start_is_cut_once_it_goes_on_and_never_after() -> None:
    drain = Drain(60.0)

    async def cut_while_it_goes_on() -> None:
        async with drain.starting():
            drain.cut_start()
            drain.cut_start()
            await asyncio.sleep(60)

    drain.cut_start()
    with pytest.raises(Stopping):
        await cut_while_it_goes_on()
    async with drain.starting():
        await asyncio.sleep(0)
    drain.cut_start()
    await asyncio.sleep(0)


async def test_a_start_that_runs_out_of_time_by_itself_says_so() -> None:
    with pytest.raises(TimeoutError):
        async with Drain(60.0).starting(), asyncio.timeout(0):
            await asyncio.sleep(60)
