"""Workers that are killed at any moment of a batch's life lose no line and repeat no result."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pytest

from app.batches.types import Status
from tests.e2e.batches.conftest import OpenScene
from tests.e2e.batches.scene import Scene, chat_lines
from tests.e2e.batches.waiting import until
from tests.e2e.batches.workers import WorkerProcess
from tests.fixtures.databases import Dialect

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

LINES = 500
REPLICAS: dict[Dialect, int] = {"sqlite": 1, "postgresql": 2}
STEPS: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "completed")
KILLS = {"validating": 2, "in_progress": 3, "finalizing": 2, "completed": 1}
"""Kills of one batch by the step they are meant for, and one while workers start."""
SURE_PER_BATCH = sum(KILLS.values())
"""Of the kills of one batch, some come when it has just ended."""
START_SECONDS = 0.2
TIDY_SECONDS = 0.1
STRETCH = 1.5
"""How much longer a step takes while others have the machine too."""


@dataclass
class Lengths:
    """How many seconds each step of an undisturbed batch takes."""

    validating: float = 0.0
    in_progress: float = 0.0
    finalizing: float = 0.0
    completed: float = TIDY_SECONDS


@dataclass(frozen=True)
class Moment:
    """A share of a step of the batch, or of a worker's start."""

    step: Status | Literal["start"]
    share: float


def moments(dice: random.Random) -> list[Moment]:
    """Choose the moments at which workers of one batch are killed."""
    chosen = [Moment("start", dice.random())]
    for step in STEPS:
        chosen += [Moment(step, dice.random()) for _ in range(KILLS[step])]
    return chosen


async def undisturbed(scene: Scene) -> Lengths:
    """Have a batch done without any kill; return how long its steps took."""
    lines = chat_lines(LINES)
    batch_id = await scene.farm.add(lines)
    lengths = Lengths()
    begun, last = 0.0, "validating"
    async with scene.working({}) as (worker,):
        while last != "completed":
            assert worker.is_alive
            status, token = await scene.watch.state(batch_id)
            now = time.perf_counter()
            if not begun:
                begun = now if token else 0.0
            elif status != last:
                setattr(lengths, last, now - begun)
                begun, last = now, status
            await asyncio.sleep(0.001)
    await scene.require_all_answered(batch_id, lines)
    assert scene.repeated() == 0
    return lengths


class Killer:
    """Kills workers of one batch, each time one of the replicas, and starts another at once."""

    def __init__(self, scene: Scene, dice: random.Random, lengths: Lengths, replicas: int) -> None:
        self._scene = scene
        self._dice = dice
        self._lengths = lengths
        self._replicas = replicas
        self._killed_token: str | None = None
        self._started = 0.0
        self.kills: Counter[str] = Counter()

    async def run(self) -> None:
        """Have one batch done, and require that it is whole."""
        lines = chat_lines(LINES, max_tokens=self._dice.randint(2, 4))
        batch_id = await self._scene.farm.add(lines)
        workers = [self._start() for _ in range(self._replicas)]
        try:
            for moment in moments(self._dice):
                await self._until(batch_id, moment)
                await self._replace(batch_id, workers)
            await self._scene.ended(batch_id)
        finally:
            await asyncio.gather(*(worker.kill() for worker in workers))
        await self._scene.require_all_answered(batch_id, lines)

    def _start(self) -> WorkerProcess:
        self._started = time.perf_counter()
        return self._scene.worker()

    async def _until(self, batch_id: str, moment: Moment) -> None:
        if moment.step == "start":
            await asyncio.sleep(moment.share * START_SECONDS)
            return
        await until(partial(self._has_come, batch_id, moment.step), every_seconds=0.001)
        seconds = getattr(self._lengths, moment.step) * STRETCH
        if moment.step == "in_progress":
            seconds /= KILLS["in_progress"]
        await asyncio.sleep(moment.share * seconds)

    async def _has_come(self, batch_id: str, step: Status) -> bool:
        """Tell whether the step has begun, and once more since its worker was killed."""
        status, token = await self._scene.watch.state(batch_id)
        if status != step:
            return STEPS.index(status) > STEPS.index(step)
        return step not in ("validating", "finalizing") or token not in (None, self._killed_token)

    async def _replace(self, batch_id: str, workers: list[WorkerProcess]) -> None:
        victim = self._dice.randrange(len(workers))
        await workers[victim].kill()
        status, self._killed_token = await self._scene.watch.state(batch_id)
        self.kills[status] += 1
        workers[victim] = self._start()


async def kill_in_batches(
    new_scene: OpenScene, dialect: Dialect, *, at_once: int, kills: int, seed: int
) -> None:
    """Kill workers so often, in batches of which some run at the same time."""
    batches = -(-kills // SURE_PER_BATCH)
    async with new_scene() as scene:
        lengths = await undisturbed(scene)
    turns = asyncio.Semaphore(at_once)
    begun = time.perf_counter()

    async def one(number: int) -> tuple[Counter[str], int]:
        async with turns, new_scene() as scene:
            dice = random.Random(f"{seed} {number}")
            killer = Killer(scene, dice, lengths, REPLICAS[dialect])
            await killer.run()
            return killer.kills, scene.repeated()

    print(f"seed {seed}, {lengths}")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(batches)]
    done = [task.result() for task in tasks]
    total = sum((kills for kills, _ in done), Counter[str]())
    print(
        f"{total.total()} kills on {dialect} in {batches} batches of {LINES} lines and "
        f"{time.perf_counter() - begun:.0f} s: {dict(total)}; "
        f"{sum(repeated for _, repeated in done)} lines asked again"
    )
    assert total.total() - total["completed"] + batches * KILLS["completed"] >= kills
    assert all(total[step] for step in STEPS)


async def test_workers_killed_at_any_moment_lose_nothing(
    new_scene: OpenScene, dialect: Dialect
) -> None:
    seed = random.randrange(1 << 32)
    await kill_in_batches(new_scene, dialect, at_once=3, kills=50, seed=seed)


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_workers_killed_at_two_hundred_moments_lose_nothing(
    new_scene: OpenScene, dialect: Dialect
) -> None:
    seed = random.randrange(1 << 32)
    await kill_in_batches(new_scene, dialect, at_once=3, kills=200, seed=seed)
