"""Who holds a chunk: a stopped worker loses it for good, and no wrong clock takes it from one."""

import asyncio
import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.batches.objects import part_key
from app.db.tables import BatchChunkRow
from tests.e2e.batches.scene import Scene, chat_lines
from tests.e2e.batches.waiting import until
from tests.e2e.batches.workers import WorkerProcess
from tests.fixtures.databases import Dialect

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

LINES = 120
FEW_LINES = 24
"""So few that one worker holds them all."""
OVER_SECONDS = 2.5
"""Longer than a lease."""
STEADY_LEASE_SECONDS = 2
STEADY_SECONDS = 5.5
"""So long nothing may happen to chunks with such leases."""
TAKEN_SECONDS = 30.0
"""Long after a lease is over, and short beside a wrong clock."""
SLACK_SECONDS = 120.0


@pytest.fixture
def dialect() -> Dialect:
    """Leases are between processes, which is what PostgreSQL is for."""
    return "postgresql"


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """While this file is there, workers that know of it ask no line."""
    path = tmp_path / "gate"
    path.touch()
    return path


def lift(gate: Path) -> None:
    gate.unlink()


def held(rows: list[BatchChunkRow]) -> dict[int, tuple[Any, ...]]:
    """Return what a worker would change of the chunks that run or are done."""
    return {
        row.number: (row.state, row.token, row.parts, row.completed, row.attempts)
        for row in rows
        if row.state in ("running", "done")
    }


async def holding(scene: Scene, batch_id: str) -> dict[int, str | None]:
    return {
        row.number: row.token for row in await scene.farm.chunks(batch_id) if row.state == "running"
    }


async def until_stopped(worker: WorkerProcess) -> None:
    async def is_stopped() -> bool:
        return bool(psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED)

    await until(is_stopped)


async def until_stolen(scene: Scene, batch_id: str, tokens: dict[int, str | None]) -> None:
    """Wait until other workers have everything that these tokens held."""

    async def is_stolen() -> bool:
        rows = {row.number: row for row in await scene.farm.chunks(batch_id)}
        return all(rows[number].token != token for number, token in tokens.items())

    await until(is_stolen)


async def test_the_write_of_a_stopped_worker_that_lost_its_lease_is_refused(
    scene: Scene, gate: Path
) -> None:
    lines = chat_lines(FEW_LINES)
    batch_id = await scene.farm.add(lines)
    settings = {**scene.order.settings, "chunk_lines": FEW_LINES // 3}
    async with scene.working({"stops_at_write": True, "settings": settings}) as (late,):
        await until_stopped(late)
        tokens = await holding(scene, batch_id)
        stored = await _unwritten(scene, batch_id)
        assert tokens
        assert stored
        async with scene.working({"gate": gate}) as (second,):
            await until_stolen(scene, batch_id, tokens)
            before = held(await scene.farm.chunks(batch_id))
            late.send(signal.SIGCONT)
            await late.told("chunk ended", times=len(tokens))
            await late.kill()
            after = held(await scene.farm.chunks(batch_id))
            lift(gate)
            await scene.ended(batch_id)
            assert second.events("lease lost") == []

    # What it had stored is nowhere, and the chunks are as the second worker had them.
    assert {number: after[number] for number in tokens} == {n: before[n] for n in tokens}
    assert stored.isdisjoint(part for row in after.values() for part in json.loads(row[2]))
    await scene.require_all_answered(batch_id, lines)
    assert max(scene.times_asked().values()) == 2


async def _unwritten(scene: Scene, batch_id: str) -> set[str]:
    """Return the names of parts that are stored and in no row."""
    written = {part for row in await scene.farm.chunks(batch_id) for part in json.loads(row.parts)}
    prefix = part_key(batch_id, "")
    return {key.removeprefix(prefix) for key in await scene.farm.objects(batch_id)} - written


async def test_a_stopped_worker_finds_out_that_its_lease_is_lost_and_goes_on(
    scene: Scene,
) -> None:
    lines = chat_lines(LINES, max_tokens=60)
    batch_id = await scene.farm.add(lines)
    async with scene.working({"settings": {**scene.order.settings, "checkpoint_seconds": 60}}) as (
        late,
    ):
        await late.told("asked")
        tokens = await holding(scene, batch_id)
        late.send(signal.SIGSTOP)
        async with scene.working({}):
            await until_stolen(scene, batch_id, tokens)
            late.send(signal.SIGCONT)
            await late.told("lease lost", times=len(tokens))
            await scene.ended(batch_id)

        await scene.require_all_answered(batch_id, lines)
        more = await scene.farm.add(lines)
        await scene.ended(more)
    await scene.require_all_answered(more, lines)
    await scene.farm.check(batch_id, lines)


async def test_a_stopped_worker_keeps_what_nobody_has_taken(scene: Scene, gate: Path) -> None:
    lines = chat_lines(FEW_LINES // 2)
    batch_id = await scene.farm.add(lines)
    async with scene.working({"gate": gate}) as (only,):
        await until(lambda: _holds(scene, batch_id, set()))
        before = await holding(scene, batch_id)
        only.send(signal.SIGSTOP)
        await asyncio.sleep(OVER_SECONDS)
        only.send(signal.SIGCONT)
        await asyncio.sleep(OVER_SECONDS)
        assert await holding(scene, batch_id) == before
        lift(gate)
        await scene.ended(batch_id)
        assert only.events("lease lost") == []
    await scene.require_all_answered(batch_id, lines)
    assert scene.repeated() == 0


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_worker_with_a_wrong_clock_steals_no_lease_and_holds_none_for_ever(
    scene: Scene, gate: Path, hours: int
) -> None:
    lines = chat_lines(FEW_LINES)
    batch_id = await scene.farm.add(lines)
    settings = {"lease_seconds": STEADY_LEASE_SECONDS, "chunk_lines": FEW_LINES // 3}
    settings = {**scene.order.settings, **settings}
    scene = replace(scene, order=replace(scene.order, gate=gate, settings=settings))
    ahead = 3600.0 * hours
    async with scene.working({}) as (right,):
        await until(lambda: _holds_all(scene, batch_id, {}))
        first = await holding(scene, batch_id)
        async with scene.working({"clock_ahead_seconds": ahead}) as (wrong,):
            await _stays(scene, batch_id, first)
            (started,) = wrong.events("started")
            assert abs(started["clock"] - time.time() - ahead) < SLACK_SECONDS
            await right.kill()
            await until(lambda: _holds_all(scene, batch_id, first), seconds=TAKEN_SECONDS)
            second = await holding(scene, batch_id)
            async with scene.working({}) as (other,):
                await _stays(scene, batch_id, second)
                await wrong.kill()
                lift(gate)
                await scene.ended(batch_id, seconds=TAKEN_SECONDS)
                assert other.events("lease lost") == []

    await scene.require_all_answered(batch_id, lines)
    assert scene.repeated() == 0


async def _stays(scene: Scene, batch_id: str, held: dict[int, str | None]) -> None:
    """Require that nobody else gets these chunks for longer than a lease."""
    await asyncio.sleep(STEADY_SECONDS)
    assert await holding(scene, batch_id) == held


async def _holds_all(scene: Scene, batch_id: str, before: dict[int, str | None]) -> bool:
    """Tell whether every chunk is held, and none as it was before."""
    now = await holding(scene, batch_id)
    return len(now) == 3 and not now.items() & before.items()


async def _holds(scene: Scene, batch_id: str, others: set[str | None]) -> bool:
    """Tell whether there are chunks that none of the others hold."""
    return bool(set((await holding(scene, batch_id)).values()) - others)
