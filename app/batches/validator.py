"""The validate step: copy the input, check every line, store it in order, hand over the chunks.

It may be killed anywhere and be done twice, also by two at once: what it stores depends on the file
alone, and the step's token lets one outcome in. Only trouble that passes is raised.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import ObjectCorrupt, ObjectNotFound, StoreUnavailable
from adapters_registry.store import ObjectStore
from app.batches import repository
from app.batches.local_work import in_thread, work_directory
from app.batches.objects import input_key
from app.batches.ordering import InputRefused, Rules, order
from app.batches.repository import StepInput
from app.batches.steps import planned, refused
from app.batches.types import BatchError, ChunkSpec, Step
from app.files.objects import object_key
from app.settings import BatchSettings

T = TypeVar("T")


class Validator:
    """Validates one batch at a time for each call; `served` are ids of base models."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        store: ObjectStore,
        work_dir: Path,
        settings: BatchSettings,
        served: Collection[str],
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._work_dir = work_dir
        self._settings = settings
        self._served = served

    async def run(self, step: Step) -> None:
        """Validate the batch of a step and write the outcome, unless the step was lost.

        Needs local disk for two copies of the file. **Raises:** StoreUnavailable, also where the
        local disk fails, and what the database raises: nothing is decided then.
        """
        async with self._sessions() as session:
            found = await repository.step_input(session, step)
        if found is None:
            return
        try:
            chunks = await self._ordered(step, found)
        except InputRefused as fault:
            async with self._sessions.begin() as session:
                await refused(session, step, fault.errors)
            return
        async with self._sessions.begin() as session:
            await planned(session, step, chunks)

    async def _ordered(self, step: Step, found: StepInput) -> Sequence[ChunkSpec]:
        """Store the ordered input and return its chunks."""
        if found.sha256 is None:
            raise _gone()
        rules = Rules(
            found.endpoint,
            self._settings.max_lines,
            self._settings.line_bytes,
            self._settings.chunk_lines,
            self._served,
        )
        with _passing():
            async with work_directory(self._work_dir) as directory:
                source, target = directory / "input", directory / "ordered"
                await self._copy(found.file_id, found.sha256, source)
                chunks = await in_thread(lambda gone: order(source, target, rules, gone))
                await self._store.put(input_key(step.batch_id), target)
        return chunks

    async def _copy(self, file_id: str, sha256: str, target: Path) -> None:
        """Copy the client's file. A store that lies must not make lines disappear."""
        try:
            await self._store.get(object_key(file_id), target)
        except ObjectNotFound:
            raise _gone() from None
        except ObjectCorrupt as corrupt:
            raise StoreUnavailable("the store gave damaged bytes") from corrupt
        if await in_thread(lambda _: _sha256(target)) != sha256:
            raise StoreUnavailable("the store gave other bytes than it was given")


def _gone() -> InputRefused:
    message = "The input file was not found: it was deleted."
    return InputRefused([BatchError("invalid_request", message, "input_file_id")])


@contextmanager
def _passing() -> Iterator[None]:
    """Tell a local disk that is full or broken as what passes."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable("the local disk cannot hold a batch's input") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
