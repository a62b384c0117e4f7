"""The finalise step: all results of a batch become its output and its error file.

It may be killed anywhere and be done twice, also by two at once: what it stores depends on results
that are final, under ids that were given out before. Only trouble that passes, and what must not
be, is raised.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import ObjectCorrupt, ObjectNotFound, StoreError, StoreUnavailable
from adapters_registry.store import ObjectStore
from app.batches import steps
from app.batches.gathered import Gathered
from app.batches.lines import read_line
from app.batches.local_work import (
    PAUSE_SECONDS,
    WORK_BYTES,
    IsStopped,
    in_thread,
    work_directory,
)
from app.batches.objects import input_key, part_key
from app.batches.orphans import remove_objects
from app.batches.results import Asked, not_executed, number_of
from app.batches.steps import EndedChunk, Ending, Finalising, Outcome, ResultFile
from app.batches.types import Step
from app.files.objects import object_key

T = TypeVar("T")
log = structlog.get_logger()

PARTS_AT_ONCE = 16


class ResultsLost(Exception):
    """The store answers, and does not have all results that it was given."""


class Finalizer:
    """Finalises one batch at a time for each call."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], store: ObjectStore, work_dir: Path
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._work_dir = work_dir

    async def run(self, step: Step, *, without_lost: bool = False) -> bool:
        """Finalise the batch of a step, unless the step was lost; tell whether it was not.

        `without_lost` goes on without results that the store has lost: their lines are told as
        failed. Needs local disk for two copies of the results and one of the input. **Raises:**
        StoreError, ResultsLost, OSError where the local disk fails, and what the database raises:
        nothing is decided then.
        """
        async with self._sessions() as session:
            found = await steps.finalising(session, step)
        if found is None:
            return False
        outcome = await self._store_files(step, found, without_lost=without_lost)
        async with self._sessions.begin() as session:
            return await steps.finished(session, step, outcome)

    async def tidy(self, step: Step) -> None:
        """Remove what was stored to make the files from; only for a batch that has ended."""
        try:
            await remove_objects(self._store, step.batch_id)
        except StoreError as error:
            log.warning("objects of a batch are left to the sweeper", exc_info=error)

    async def _store_files(self, step: Step, found: Finalising, *, without_lost: bool) -> Outcome:
        async with work_directory(self._work_dir) as directory:
            with closing(Gathered(directory / "results")) as gathered:
                lost = await self._gather_parts(step, found, gathered, directory)
                if lost and not without_lost:
                    raise ResultsLost(step.batch_id)
                # A store that tells less than it was given must not make results disappear.
                if not lost and gathered.count() < sum(chunk.finished for chunk in found.chunks):
                    raise StoreUnavailable("the store gave other bytes than it was given")
                await self._add_missing(step, found, gathered, directory)
                output = await self._put(gathered, found.output_file_id, directory, is_ok=True)
                error = await self._put(gathered, found.error_file_id, directory, is_ok=False)
                return Outcome(
                    _ending(found),
                    gathered.count(is_ok=True),
                    gathered.count(is_ok=False),
                    output,
                    error,
                )

    async def _gather_parts(
        self, step: Step, found: Finalising, gathered: Gathered, directory: Path
    ) -> int:
        """Take all results in that the store has; tell how many parts it has lost."""
        names, lost = [part for chunk in found.chunks for part in chunk.parts], 0
        for start in range(0, len(names), PARTS_AT_ONCE):
            paths = [directory / name for name in names[start : start + PARTS_AT_ONCE]]
            lost += await self._take_parts(step, paths, gathered)
        return lost

    async def _take_parts(self, step: Step, paths: Sequence[Path], gathered: Gathered) -> int:
        try:
            async with asyncio.TaskGroup() as group:
                copies = [group.create_task(self._copied(step, path)) for path in paths]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        had = [path for path, copy in zip(paths, copies, strict=True) if copy.result()]
        await in_thread(lambda _: gathered.add_parts(had))
        return len(paths) - len(had)

    async def _copied(self, step: Step, path: Path) -> bool:
        """Copy a part to local disk; tell whether it can be had at all."""
        try:
            await self._store.get(part_key(step.batch_id, path.name), path)
        except (ObjectNotFound, ObjectCorrupt) as error:
            log.error("results of a batch are lost", batch_id=step.batch_id, exc_info=error)
            return False
        return True

    async def _add_missing(
        self, step: Step, found: Finalising, gathered: Gathered, directory: Path
    ) -> None:
        """Say of each line without a result why it has none."""
        if gathered.count() == sum(chunk.lines for chunk in found.chunks):
            return
        source = directory / "input"
        await self._store.get(input_key(step.batch_id), source)
        code = "batch_cancelled" if found.status == "cancelling" else "batch_expired"
        add = partial(add_unfinished, gathered, source, found.chunks, step, code)
        await in_thread(add)

    async def _put(
        self, gathered: Gathered, file_id: str | None, directory: Path, *, is_ok: bool
    ) -> ResultFile | None:
        if file_id is None or not gathered.count(is_ok=is_ok):
            return None
        path = directory / file_id
        written = await in_thread(lambda stop: gathered.write(path, is_ok=is_ok, is_stopped=stop))
        await self._store.put(object_key(file_id), path)
        return ResultFile(file_id, written.bytes, written.sha256)


def _ending(found: Finalising) -> Ending:
    if found.status == "cancelling":
        return "cancelled"
    is_done = bool(found.chunks) and all(chunk.finished == chunk.lines for chunk in found.chunks)
    return "completed" if is_done else "expired"


def add_unfinished(
    gathered: Gathered,
    source: Path,
    chunks: Sequence[EndedChunk],
    step: Step,
    code: str,
    is_stopped: IsStopped,
) -> None:
    """Add what is said of lines that have no result. **Raises:** ValueError."""
    worked = 0
    for chunk, stored in _stored_lines(source, chunks):
        if is_stopped():
            return
        if not gathered.has(number_of(stored)):
            line = read_line(stored)
            why = code if chunk.finished < chunk.lines else "processing_failed"
            gathered.add(not_executed(Asked(step.batch_id, line.number, line.custom_id), why))
            worked += len(stored)
        if worked >= WORK_BYTES:
            worked = 0
            time.sleep(PAUSE_SECONDS)


def _stored_lines(source: Path, chunks: Sequence[EndedChunk]) -> Iterator[tuple[EndedChunk, bytes]]:
    with source.open("rb") as file:
        for chunk in chunks:
            file.seek(chunk.start)
            for _ in range(chunk.lines):
                yield chunk, file.readline()
