"""The finalise step: all results of a batch become its output and its error file.

It may be killed anywhere and be done twice, also by two at once: what it stores depends on results
that are final, under ids that were given out before. Only trouble that passes, and what must not
be, is raised.
"""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import StoreError, StoreUnavailable
from adapters_registry.store import ObjectStore
from app.batches import steps
from app.batches.gathered import Gathered
from app.batches.lines import read_line
from app.batches.local_work import in_thread, work_directory
from app.batches.objects import input_key, part_key
from app.batches.orphans import remove_objects
from app.batches.results import Asked, not_executed, number_of
from app.batches.steps import EndedChunk, Finalising, Outcome, ResultFile
from app.batches.types import Step
from app.files.objects import object_key

T = TypeVar("T")
log = structlog.get_logger()

PARTS_AT_ONCE = 16


class Finalizer:
    """Finalises one batch at a time for each call."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], store: ObjectStore, work_dir: Path
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._work_dir = work_dir

    async def run(self, step: Step) -> bool:
        """Finalise the batch of a step, unless the step was lost; tell whether it was not.

        Needs local disk for two copies of the results and one of the input. **Raises:** StoreError,
        OSError where the local disk fails, and what the database raises: nothing is decided then.
        """
        async with self._sessions() as session:
            found = await steps.finalising(session, step)
        if found is None:
            return False
        outcome = await self._store_files(step, found)
        async with self._sessions.begin() as session:
            return await steps.finished(session, step, outcome)

    async def tidy(self, step: Step) -> None:
        """Remove what was stored to make the files from; only for a batch that has ended."""
        try:
            await remove_objects(self._store, step.batch_id)
        except StoreError as error:
            log.warning("objects of a batch are left to the sweeper", exc_info=error)

    async def _store_files(self, step: Step, found: Finalising) -> Outcome:
        async with work_directory(self._work_dir) as directory:
            with closing(Gathered(directory / "results")) as gathered:
                await self._gather(step, found, gathered, directory)
                output = await self._put(gathered, found.output_file_id, directory, is_ok=True)
                error = await self._put(gathered, found.error_file_id, directory, is_ok=False)
                is_whole = all(chunk.finished == chunk.lines for chunk in found.chunks)
                return Outcome(
                    "cancelled" if _is_cancelled(found) else "completed" if is_whole else "expired",
                    gathered.count(is_ok=True),
                    gathered.count(is_ok=False),
                    output,
                    error,
                )

    async def _gather(
        self, step: Step, found: Finalising, gathered: Gathered, directory: Path
    ) -> None:
        names = [part for chunk in found.chunks for part in chunk.parts]
        for start in range(0, len(names), PARTS_AT_ONCE):
            some = names[start : start + PARTS_AT_ONCE]
            await self._get_parts(step, some, gathered, directory)
        # A store that tells less than it was given must not make results disappear.
        if gathered.count() != sum(chunk.finished for chunk in found.chunks):
            raise StoreUnavailable("the store gave other bytes than it was given")
        left = [chunk for chunk in found.chunks if chunk.finished < chunk.lines]
        if left:
            source = directory / "input"
            await self._store.get(input_key(step.batch_id), source)
            code = "batch_cancelled" if _is_cancelled(found) else "batch_expired"
            await in_thread(lambda _: _add_unfinished(gathered, source, left, step, code))

    async def _get_parts(
        self, step: Step, names: Sequence[str], gathered: Gathered, directory: Path
    ) -> None:
        paths = [directory / name for name in names]
        try:
            async with asyncio.TaskGroup() as group:
                for name, path in zip(names, paths, strict=True):
                    group.create_task(self._store.get(part_key(step.batch_id, name), path))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        await in_thread(lambda _: gathered.add_parts(paths))

    async def _put(
        self, gathered: Gathered, file_id: str | None, directory: Path, *, is_ok: bool
    ) -> ResultFile | None:
        if file_id is None or not gathered.count(is_ok=is_ok):
            return None
        path = directory / file_id
        written = await in_thread(lambda stop: gathered.write(path, is_ok=is_ok, is_stopped=stop))
        await self._store.put(object_key(file_id), path)
        return ResultFile(file_id, written.bytes, written.sha256)


def _is_cancelled(found: Finalising) -> bool:
    return found.status == "cancelling"


def _add_unfinished(
    gathered: Gathered, source: Path, chunks: Sequence[EndedChunk], step: Step, code: str
) -> None:
    """Add what is said of lines that have no result. **Raises:** ValueError."""
    with source.open("rb") as file:
        for chunk in chunks:
            file.seek(chunk.start)
            for _ in range(chunk.lines):
                stored = file.readline()
                if not gathered.has(number_of(stored)):
                    line = read_line(stored)
                    gathered.add(
                        not_executed(Asked(step.batch_id, line.number, line.custom_id), code)
                    )
