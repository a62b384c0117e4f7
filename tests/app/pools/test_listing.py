"""Other pools are asked at once, in the caller's name, and not for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.pools import listing
from app.pools.client import make_client
from app.pools.directory import Pool, PoolDirectory
from app.pools.listing import PoolListing
from deploy.quickstart.ports import free_port
from tests.app.pools.sites import Upstream, serving

KEY = "Bearer gsk_x"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncBaseTransport]:
    async with make_client() as client:
        yield client


async def test_each_pool_is_asked_for_its_own_models_with_the_callers_key(
    client: httpx.AsyncBaseTransport,
) -> None:
    upstreams = [Upstream(Response(b"one")), Upstream(Response(b"two"))]
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serving(each)) for each in upstreams]
        pools = [Pool(url, ("m",)) for url in urls]
        answers = await PoolListing(client, PoolDirectory(pools)).ask(KEY)
    assert answers == dict(zip(pools, [b"one", b"two"], strict=True))
    for upstream in upstreams:
        [asked] = upstream.asked
        assert (asked.method, asked.target) == ("GET", "/v1/models")
        assert asked.header[b"authorization"] == KEY.encode()
        assert asked.header[b"x-lora-api-forwarded"] == b"1"


async def test_a_pool_that_refuses_or_is_not_there_says_nothing(
    client: httpx.AsyncBaseTransport,
) -> None:
    async with serving(Upstream(Response(b"no", 503))) as url:
        refusing = Pool(url, ("m",))
        missing = Pool(f"http://127.0.0.1:{free_port()}", ("n",))
        answers = await PoolListing(client, PoolDirectory([refusing, missing])).ask(KEY)
    assert answers == {refusing: None, missing: None}


async def test_a_pool_that_hangs_is_waited_for_only_so_long(
    client: httpx.AsyncBaseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = asyncio.Event()

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    monkeypatch.setattr(listing, "ANSWER_SECONDS", 0.1)
    async with serving(hang) as url:
        pool = Pool(url, ("m",))
        assert await PoolListing(client, PoolDirectory([pool])).ask(KEY) == {pool: None}
        await left.wait()
