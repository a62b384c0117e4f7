"""How the server process stops: it says so first, and then takes nothing more in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from adapters_registry.testing import until
from app.cli.listening import bound
from app.cli.serve import DrainingServer, make_server
from app.drain import Drain, Stopping
from app.settings import ServerSettings
from deploy.quickstart.ports import free_port


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def serving(**settings: float) -> AsyncIterator[tuple[DrainingServer, Drain, str]]:
    drain, port = Drain(5.0), free_port()
    server = make_server(answering, ServerSettings.model_validate(settings), drain)
    task = asyncio.create_task(server.serve(sockets=[bound("127.0.0.1", port)]))
    await until(lambda: server.started)
    yield server, drain, f"http://127.0.0.1:{port}"
    server.should_exit = True
    await task


async def test_requests_are_still_taken_in_for_as_long_as_balancers_need_to_see_it() -> None:
    async with httpx.AsyncClient() as client, serving(notice_seconds=60) as (server, drain, url):
        await drain.check()
        server.should_exit = True
        await until(lambda: drain.is_announced)

        with pytest.raises(Stopping):
            await drain.check()
        assert (await client.get(url, headers={"connection": "close"})).status_code == 200
        assert drain.deadline is None
        server.force_exit = True  # as a second signal has it


async def test_kept_connections_end_with_an_answer_before_a_stop_ends_them() -> None:
    async with httpx.AsyncClient() as client, serving(notice_seconds=60) as (server, drain, url):
        assert "connection" not in (await client.get(url)).headers
        server.should_exit = True
        await until(lambda: drain.is_announced)
        await asyncio.sleep(1.5)  # uvicorn makes its own headers anew each second
        assert (await client.get(url)).headers["connection"] == "close"
        server.force_exit = True


async def test_without_a_notice_a_stop_begins_at_once() -> None:
    async with serving() as (server, drain, url):
        server.should_exit = True
        await until(lambda: drain.deadline is not None)
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_a_start_that_is_not_over_ends_with_the_first_signal() -> None:
    drain, begun, has_ended = Drain(60.0), asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def never_started(app: Starlette) -> AsyncIterator[None]:
        try:
            async with drain.starting():
                begun.set()
                await asyncio.Event().wait()
        finally:
            has_ended.set()
        yield

    config = uvicorn.Config(Starlette(lifespan=never_started), log_config=None)
    server = DrainingServer(config, drain, 60.0)
    with bound("127.0.0.1", free_port()) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await begun.wait()
        server.should_exit = True
        async with asyncio.timeout(5):
            await task
    assert has_ended.is_set()
    assert not server.started


@pytest.mark.parametrize(("keep_alive_seconds", "stays"), [(1, False), (3, True)])
async def test_an_idle_connection_is_kept_for_as_long_as_was_set(
    keep_alive_seconds: int, stays: bool
) -> None:
    async with serving(keep_alive_seconds=keep_alive_seconds) as (_, _, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(b"GET / HTTP/1.1\r\nhost: me\r\n\r\n")
        await reader.readuntil(b"ok")
        closing = asyncio.create_task(reader.read())
        await asyncio.wait([closing], timeout=2)
        assert closing.done() is not stays
        writer.close()
        await closing


async def test_by_default_clients_drop_idle_connections_first() -> None:
    balancers = 60  # nginx's and AWS's default; SDKs keep theirs for 5 seconds
    assert ServerSettings().keep_alive_seconds > balancers
