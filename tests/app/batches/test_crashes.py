"""Whatever call a process dies at, or fails at, every line ends up with exactly one result.

And what a line has used is counted once, however often it was asked.
"""

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.db.engine import Database
from app.inference.context import RequestContext
from tests.app.batches.farm import Farm, line, lines, until_any
from tests.app.batches.processes import Fate, answer_all

ASKED = [*lines(5), line("bug", do="fail"), *lines(10)[5:], line("bad", do="refuse")]
"""Twelve lines, in chunks of three."""
SOON = {"poll_seconds": 0.05, "checkpoint_seconds": 0.005}
STUCK_SECONDS = 0.3


@pytest.fixture
async def light_farm(migrated_sqlite: Path, tmp_path: Path) -> AsyncIterator[Farm]:
    """A farm on SQLite alone, for tests of very many runs."""
    path = shutil.copy(migrated_sqlite, tmp_path / "test.sqlite3")
    database = Database(f"sqlite+aiosqlite:///{path}")
    yield await Farm.open(database, tmp_path)
    await database.close()


async def slowly(context: RequestContext, body: Mapping[str, Any]) -> bytes:
    """Answer some lines late enough for a checkpoint to come first."""
    if body["messages"][0]["content"].endswith("1"):
        await asyncio.sleep(0.02)
    return await answer_all(context, body)


async def die_at(farm: Farm, point: int) -> bool:
    """Have a process die at a point, and another do the rest; tell whether it came to that."""
    batch_id = await farm.add(ASKED)
    process = farm.process(fate=Fate(dies_at=point), act=slowly, **SOON)
    async with farm.working(process):
        await until_any(farm.ended(batch_id), process.fate.died.wait())
    has_died = process.fate.points == point
    await process.kill()
    await farm.end_leases()
    await farm.work_off(batch_id, **SOON)
    await require_completion(farm, batch_id)
    return has_died


async def fail_at(farm: Farm, points: range, **options: Any) -> bool:
    """Have a process fail at some points and go on; tell whether it came to that."""
    batch_id = await farm.add(ASKED)
    process = farm.process(fate=Fate(fails_at=points), act=slowly, **SOON, **options)
    async with farm.working(process):
        while (await farm.row(batch_id)).status != "completed":
            with suppress(TimeoutError):
                async with asyncio.timeout(STUCK_SECONDS):
                    await farm.ended(batch_id)
            # A claim whose answer was lost is nobody's until its lease is over.
            await farm.end_leases()
    await require_completion(farm, batch_id)
    return process.fate.points >= points.start


async def require_completion(farm: Farm, batch_id: str) -> None:
    await farm.check(batch_id, ASKED)
    row = await farm.row(batch_id)
    assert (row.status, row.completed, row.failed) == ("completed", 10, 2)
    assert [each["custom_id"] for each in (await farm.results(batch_id))[1]] == ["bug", "bad"]
    await farm.check_usage()


async def test_a_process_may_die_at_any_call(light_farm: Farm) -> None:
    for point in itertools.count(1):
        if not await die_at(light_farm, point):
            break
    assert point > 60


async def test_any_call_may_fail_once(light_farm: Farm) -> None:
    for point in itertools.count(1):
        if not await fail_at(light_farm, range(point, point + 1)):
            break
    assert point > 60


@pytest.mark.parametrize("point", range(3, 100, 11))
async def test_a_process_may_die_at_a_call_on_either_database(farm: Farm, point: int) -> None:
    assert await die_at(farm, point)


@pytest.mark.parametrize("point", range(8, 80, 24))
async def test_an_outage_of_many_calls_loses_nothing(farm: Farm, point: int) -> None:
    assert await fail_at(farm, range(point, point + 40))


async def test_processes_that_die_one_after_another_lose_nothing(farm: Farm) -> None:
    batch_id = await farm.add(ASKED)
    for point in range(4, 90, 5):
        process = farm.process(fate=Fate(dies_at=point), act=slowly, **SOON)
        async with farm.working(process):
            await until_any(farm.ended(batch_id), process.fate.died.wait())
        await process.kill()
        await farm.end_leases()
    await farm.work_off(batch_id, **SOON)
    await farm.check(batch_id, ASKED)
    await farm.check_usage()


async def test_a_store_that_gives_half_of_what_it_was_given_makes_no_line_disappear(
    farm: Farm,
) -> None:
    batch_id = await farm.add(ASKED)
    dying = farm.process(fate=Fate(dies_at=60), act=slowly, **SOON)
    async with farm.working(dying):
        await dying.fate.died.wait()
    await dying.kill()
    await farm.end_leases()
    process = await farm.work_off(batch_id, fate=Fate(lies_at=range(1, 60, 2)), **SOON)
    await require_completion(farm, batch_id)
    assert process.observed.failures
    assert process.observed.begun >= {*process.observed.failures}
