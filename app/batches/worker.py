"""A process's part in the work on batches: it looks for work, keeps its leases, and gives back.

Any number of processes may do so at once. What one does not finish, however it ends, another takes
up when the lease is over.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.store import ObjectStore
from app.batches import chunk_run, leases, step_work
from app.batches.chunk_run import ChunkPorts
from app.batches.chunk_work import ChunkWork
from app.batches.leases import Holdings
from app.batches.liveness import Liveness
from app.batches.observer import BatchObserver
from app.batches.outages import Patience
from app.batches.pauses import Pauses
from app.batches.retry import Answers
from app.batches.step_work import Finalizes, StepWork, Validates
from app.batches.types import Capacity, Endpoints
from app.settings import BatchSettings

log = structlog.get_logger()

CLOSE_SECONDS = 5.0
"""How long giving back may take."""
LAST_SECONDS = 1.0
"""And how long what has not ended by then may take to be cancelled."""
BEAT_SECONDS = 5.0
"""Longest time between two beats: so late a cancellation is seen."""
BEAT_AGAIN_SECONDS = 1.0
JITTER = 0.1
LOOK = "batch look"
BEAT = "batch heartbeat"
TASKS = (LOOK, BEAT, step_work.TASK, chunk_run.TASK)
"""All whose failures are counted."""


@dataclass(frozen=True, slots=True)
class WorkerPorts:
    """What a worker works with; in `work_dir` it makes and removes files of its own.

    `change` is set by whoever puts in new work here, so that nobody waits for the next look.
    """

    sessions: async_sessionmaker[AsyncSession]
    store: ObjectStore
    work_dir: Path
    endpoints: Endpoints
    capacity: Capacity
    validator: Validates
    finalizer: Finalizes
    observer: BatchObserver
    change: asyncio.Event = field(default_factory=asyncio.Event)


class Worker:
    """Works from `start` to `close`."""

    def __init__(
        self, ports: WorkerPorts, settings: BatchSettings, pauses: Pauses | None = None
    ) -> None:
        self._sessions = ports.sessions
        self._observer = ports.observer
        self._settings = settings
        self._change = ports.change
        self._is_closing = False
        self._loops: list[asyncio.Task[None]] = []
        pauses = pauses or Pauses()
        patience = Patience(ports.observer, pauses)
        self._steps = StepWork(
            ports.sessions,
            ports.validator,
            ports.finalizer,
            patience,
            ports.observer,
            lease_seconds=settings.lease_seconds,
            on_end=self._change.set,
        )
        chunk_ports = ChunkPorts(
            sessions=ports.sessions,
            store=ports.store,
            work_dir=ports.work_dir,
            answers=Answers(ports.endpoints, ports.observer, pauses),
            patience=patience,
            liveness=Liveness(ports.capacity),
            checkpoint_seconds=settings.checkpoint_seconds,
            on_line=self._line_ended,
        )
        self._chunks = ChunkWork(
            chunk_ports,
            ports.capacity,
            ports.observer,
            lease_seconds=settings.lease_seconds,
            on_end=self._change.set,
        )

    def start(self) -> None:
        """Begin to look for work."""
        for task in TASKS:
            self._observer.background_begun(task)
        loops = {LOOK: self._look_often, BEAT: self._beat_often}
        self._loops = [asyncio.create_task(loop(), name=name) for name, loop in loops.items()]

    async def close(self) -> None:
        """End all work and give back what is not finished; takes 5 seconds, or little more."""
        self._is_closing = True
        self._change.set()
        self._steps.stop()
        self._chunks.stop()
        await _wait([*self._loops[:1], *self._tasks], CLOSE_SECONDS)
        left = [task for task in (*self._loops, *self._tasks) if not task.done()]
        for task in left:
            task.cancel()
        await _wait(left, LAST_SECONDS)

    @property
    def _tasks(self) -> list[asyncio.Task[None]]:
        return [*self._steps.tasks, *self._chunks.tasks]

    def _line_ended(self, model: str) -> None:
        """Fetch more lines as soon as there is room, not when a chunk has come to its end."""
        if not self._change.is_set() and self._chunks.wants(model):
            self._change.set()

    async def _look_often(self) -> None:
        while not self._is_closing:
            self._change.clear()
            await self._guarded(LOOK, self._look)
            with suppress(TimeoutError):
                async with asyncio.timeout(
                    self._settings.poll_seconds * random.uniform(1 - JITTER, 1)
                ):
                    await self._change.wait()

    async def _look(self) -> None:
        await self._steps.take()
        await self._chunks.take()

    async def _beat_often(self) -> None:
        usual = seconds = min(self._settings.lease_seconds / 3, BEAT_SECONDS)
        while True:
            await asyncio.sleep(seconds)
            is_done = await self._guarded(BEAT, self._beat)
            seconds = usual if is_done else min(usual, BEAT_AGAIN_SECONDS)

    async def _beat(self) -> None:
        runs, held = dict(self._chunks.runs), self._steps.tokens
        batches = {run.held.batch_id for run in runs.values()}
        async with self._sessions.begin() as session:
            kept = await leases.renew(
                session,
                Holdings(runs.keys(), held, batches),
                lease_seconds=self._settings.lease_seconds,
            )
        for token in held - kept.steps:
            self._steps.lose(token)
        for token, run in runs.items():
            if token not in kept.chunks:
                self._chunks.lose(token)
            elif run.held.batch_id in kept.ended:
                self._chunks.end(token)

    async def _guarded(self, task: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Do work that must not end its loop; tell whether it was done."""
        try:
            await work()
        except Exception as error:
            # Any part may be down for a while; the next time it may be there again.
            self._observer.background_failed(task)
            log.warning("batch work failed", task=task, exc_info=error)
            return False
        return True


async def _wait(tasks: Collection[asyncio.Task[Any]], seconds: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
