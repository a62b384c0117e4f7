"""The store or the database goes away in the middle of a batch: it goes on and ends right."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from adapters_registry.s3 import S3Store
from tests.e2e.batches.scene import Scene, chat_lines
from tests.e2e.batches.worker_process import LINES as AT_ONCE
from tests.e2e.batches.worker_process import S3At
from tests.fixtures.databases import Dialect
from tests.fixtures.fault_proxy import running_fault_proxy
from tests.fixtures.seaweedfs import SeaweedFS
from tests.fixtures.tcp_proxy import running_tcp_proxy

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

LINES = 300
SHORT = pytest.param(5.0, id="short")
LONG = pytest.param(60.0, id="long", marks=pytest.mark.soak)
SECONDS = pytest.mark.parametrize("seconds", [SHORT, LONG])
Outage = Callable[[], AbstractAsyncContextManager[None]]


async def go_through(scene: Scene, outage: Outage, seconds: float, *, workers: int) -> None:
    """Have a batch done with an outage in its middle; require that it is complete."""
    lines = chat_lines(LINES)
    batch_id = await scene.farm.add(lines)
    async with scene.working(*({} for _ in range(workers))) as running:
        await scene.some_finished(batch_id)
        async with outage():
            await asyncio.sleep(seconds)
            assert all(worker.is_alive for worker in running)
        await scene.ended(batch_id, seconds=60)
        failures = sum(len(worker.events("failed")) for worker in running)
    print(f"{seconds:.0f} s away: {failures} failures, {scene.repeated()} lines asked again")
    await scene.require_all_answered(batch_id, lines)
    # Whoever comes first after the outage may take what the other holds, and no more than that.
    assert scene.repeated() <= (workers - 1) * 2 * AT_ONCE


@SECONDS
async def test_a_store_directory_that_goes_away_is_waited_for(
    scene: Scene, dialect: Dialect, seconds: float
) -> None:
    there = scene.order.store
    assert isinstance(there, Path)

    @asynccontextmanager
    async def away() -> AsyncIterator[None]:
        hidden = there.rename(there.with_name("hidden"))
        try:
            yield
        finally:
            hidden.rename(there)

    await go_through(scene, away, seconds, workers=2 if dialect == "postgresql" else 1)


@SECONDS
@pytest.mark.parametrize("dialect", ["postgresql"])
async def test_an_s3_store_that_goes_away_is_waited_for(
    scene: Scene, seaweedfs: SeaweedFS, seconds: float
) -> None:
    async with running_fault_proxy(seaweedfs.endpoint_url) as proxy:
        prefix = f"outage-{seconds:.0f}"
        store = S3Store(seaweedfs.bucket, prefix=prefix, endpoint_url=seaweedfs.endpoint_url)
        farm: Any = scene.farm
        farm.store = store
        place = S3At(proxy.url, seaweedfs.bucket, prefix, seaweedfs.environment)
        scene = replace(scene, order=replace(scene.order, store=place))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            await go_through(scene, _away(proxy.go_down, proxy.go_up), seconds, workers=2)


@SECONDS
@pytest.mark.parametrize("dialect", ["postgresql"])
async def test_a_postgresql_that_goes_away_is_waited_for(scene: Scene, seconds: float) -> None:
    url = make_url(scene.order.database_url)
    socket = Path(str(url.query["host"])) / ".s.PGSQL.5432"
    connect = partial(asyncio.open_unix_connection, socket)
    async with running_tcp_proxy(connect) as proxy:
        through = url.set(host="127.0.0.1", port=proxy.port, query={})
        order = replace(scene.order, database_url=through.render_as_string(hide_password=False))
        away = _away(proxy.go_down, proxy.go_up)
        await go_through(replace(scene, order=order), away, seconds, workers=2)


@SECONDS
@pytest.mark.parametrize("dialect", ["sqlite"])
async def test_a_sqlite_file_that_another_has_locked_is_waited_for(
    scene: Scene, seconds: float
) -> None:
    path = make_url(scene.order.database_url).database
    assert path is not None

    @asynccontextmanager
    async def away() -> AsyncIterator[None]:
        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            yield
            connection.execute("ROLLBACK")
        finally:
            connection.close()

    await go_through(scene, away, seconds, workers=1)


def _away(go_down: Callable[[], Awaitable[None]], go_up: Callable[[], Awaitable[None]]) -> Outage:
    @asynccontextmanager
    async def away() -> AsyncIterator[None]:
        await go_down()
        try:
            yield
        finally:
            await go_up()

    return away
