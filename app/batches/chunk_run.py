"""One chunk from its lease to its end: its lines asked, their results stored and written down.

Results go to local disk as they come and to the store at checkpoints. What is written to the row is
guarded by the lease; whoever has lost it writes nothing more. Nothing is ever taken back, so a new
holder asks only what has no result yet.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import StoreUnavailable
from adapters_registry.store import ObjectStore
from app.auth.authenticator import Caller
from app.batches import chunks
from app.batches.chunks import CAREFUL_ATTEMPT, LAST_ATTEMPT, HeldChunk, Progress
from app.batches.interruptible import Interruptible
from app.batches.line_turns import LineTurns
from app.batches.lines import read_line
from app.batches.liveness import Liveness
from app.batches.local_parts import LocalPart, LocalParts
from app.batches.objects import input_key, part_key
from app.batches.outages import Patience
from app.batches.results import Asked, Result, not_executed, number_of, split_lines
from app.batches.retry import Answers, EngineDied
from app.usage import repository as usage
from app.usage.tally import Tally
from app.usage.types import Sums

log = structlog.get_logger()

TASK = "batch chunk"
State = Literal["running", "queued", "done"]
NO_KEY = ""
"""Of batches from before their keys were kept."""


@dataclass(frozen=True, slots=True)
class ChunkPorts:
    """What every chunk's run needs of the process."""

    sessions: async_sessionmaker[AsyncSession]
    store: ObjectStore
    work_dir: Path
    answers: Answers
    patience: Patience
    liveness: Liveness
    checkpoint_seconds: float
    on_line: Callable[[str], None]
    """Called with the model whenever a line has its result."""


class ChunkRun:
    """A chunk that is ours, and the way to end it from outside. `unfinished` counts its lines."""

    def __init__(self, held: HeldChunk, turns: LineTurns, ports: ChunkPorts) -> None:
        self.held = held
        self.unfinished = held.lines - held.progress.lines
        self._ports = ports
        self._turn = partial(turns.turn, held.org_id)
        self._caller = Caller(held.org_id, held.key_id or NO_KEY, held.plan)
        self._lines = Interruptible()
        self._lease = Interruptible()
        self._progress = held.progress
        self._attempts = held.attempts
        self._has_begun = not held.is_careful
        self._is_suspect = False

    @property
    def is_stopped(self) -> bool:
        """Tell whether it is to end."""
        return self._lines.is_ended or self._lease.is_ended

    def stop(self) -> None:
        """End the lines; what is finished is kept, and others may have the rest at once."""
        self._lines.end()

    def lose(self) -> None:
        """End everything: the chunk is another's now."""
        self._lease.end()

    async def run(self) -> None:
        """Run until every line has a result, or until it is ended from outside.

        A local disk that fails gives the chunk back as it was. **Raises:** what nobody expects, and
        StoreUnavailable where it holds up all others; the lease is then left to run out.
        """
        async with self._lease.block():
            try:
                with self._local_parts() as local:
                    async with self._lines.block():
                        await self._ask_lines(local)
                    await self._end(local)
            except* OSError as errors:
                log.warning("batch chunk given back: local disk fails", exc_info=errors)
                async with self._lines.block():
                    await self._ports.patience.rest()
                await self._write(self._progress, "queued")

    @contextmanager
    def _local_parts(self) -> Iterator[LocalParts]:
        with (
            tempfile.TemporaryDirectory(prefix="batch-", dir=self._ports.work_dir) as directory,
            closing(LocalParts(Path(directory))) as local,
        ):
            yield local

    async def _ask_lines(self, local: LocalParts) -> None:
        if self.held.is_careful:
            # Without patience: all others wait for it, and go on until its lease is over.
            await self._one_by_one(await self._left(), local)
            return
        left = await self._ports.patience.with_store(TASK, self._left)
        await self._require_engine()
        await self._together(left, local)

    async def _left(self) -> Sequence[bytes]:
        """Read the lines that have no result. **Raises:** StoreUnavailable."""
        held, store = self.held, self._ports.store
        finished: set[int] = set()
        for part in held.progress.parts:
            async for line in split_lines(store.read(part_key(held.batch_id, part))):
                finished.add(number_of(line))
        pieces = store.read(input_key(held.batch_id), start=held.start, length=held.length)
        stored = b"".join([piece async for piece in pieces])
        left = [line for line in stored.split(b"\n")[:-1] if number_of(line) not in finished]
        # A store that tells less than it was given would have lines asked twice, or not at all.
        if len(left) != self.unfinished or len(stored) != held.length:
            raise StoreUnavailable("the store gave other bytes than it was given")
        return left

    async def _together(self, left: Sequence[bytes], local: LocalParts) -> None:
        async with asyncio.TaskGroup() as group:
            saving = group.create_task(self._save_often(local))
            async with asyncio.TaskGroup() as lines:
                for line in left:
                    lines.create_task(self._ask(line, local))
            saving.cancel()

    async def _one_by_one(self, left: Sequence[bytes], local: LocalParts) -> None:
        await self._require_engine()
        await self._begin()
        for line in left:
            await self._require_engine()
            if self._attempts >= LAST_ATTEMPT:
                self._finish(_given_up(self.held.batch_id, line), {}, local)
            else:
                await self._ask(line, local)
            await self._save(local)

    async def _ask(self, line: bytes, local: LocalParts) -> None:
        held = self.held
        try:
            answer = self._ports.answers.final(held.batch_id, self._caller, line, self._turn)
            result, used = await answer
            self._finish(result, used, local)
        except EngineDied:
            # The attempt counts, as if this process had died.
            self._is_suspect = True
            self._ports.liveness.died(held.model)
            self.stop()

    def _finish(self, result: Result, used: Sums, local: LocalParts) -> None:
        local.add(result, used)
        self.unfinished -= 1
        self._ports.on_line(self.held.model)

    async def _save_often(self, local: LocalParts) -> None:
        while True:
            await asyncio.sleep(self._ports.checkpoint_seconds)
            await self._save(local)

    async def _save(self, local: LocalParts) -> None:
        """Store what is new. It was progress: attempts are counted from this one on."""
        parts = local.closed()
        if not parts:
            return
        progress = await self._stored(parts)
        self._attempts = CAREFUL_ATTEMPT if self.held.is_careful else 1
        await self._write(progress, "running", parts)
        local.forget(parts)

    async def _end(self, local: LocalParts) -> None:
        parts = local.closed()
        progress = await self._stored(parts)
        await self._write(progress, "queued" if self.unfinished else "done", parts)

    async def _stored(self, parts: Sequence[LocalPart]) -> Progress:
        """Store parts and return the progress with them, which is to be written yet."""
        for part in parts:
            put = partial(self._ports.store.put, part_key(self.held.batch_id, part.name), part.path)
            await self._ports.patience.with_store(TASK, put)
        known = self._progress
        return Progress(
            (*known.parts, *(part.name for part in parts)),
            known.completed + sum(part.completed for part in parts),
            known.failed + sum(part.failed for part in parts),
        )

    async def _require_engine(self) -> None:
        """Go no further without an engine: its death would be taken for the doing of our lines."""
        if not await self._ports.liveness.is_up(self.held.model):
            self.stop()
            await asyncio.sleep(0)  # the block is left here

    async def _begin(self) -> None:
        if not await self._ports.patience.with_database(TASK, self._count_attempt):
            await self._lost()
        self._attempts, self._has_begun = self._attempts + 1, True

    async def _count_attempt(self) -> bool:
        async with self._ports.sessions.begin() as session:
            return await chunks.begin(session, self.held)

    async def _write(
        self, progress: Progress, state: State, parts: Sequence[LocalPart] = ()
    ) -> None:
        attempts = self._attempts
        if state == "queued" and self._has_begun and not self._is_suspect:
            attempts -= 1
        write = partial(self._written, progress, state, attempts, parts)
        if not await self._ports.patience.with_database(TASK, write):
            await self._lost()
        self._progress = progress

    async def _written(
        self, progress: Progress, state: State, attempts: int, parts: Sequence[LocalPart]
    ) -> bool:
        """Write it, and with it what the lines of its new parts have used.

        A part that an earlier write has brought, though its answer was lost, is counted already.
        """
        held = self.held
        async with self._ports.sessions.begin() as session:
            known = await chunks.written_parts(session, held)
            is_ours = await chunks.write(session, held, progress, attempts=attempts, state=state)
            if is_ours:
                await usage.add(session, _used(part for part in parts if part.name not in known))
            return is_ours

    async def _lost(self) -> None:
        self.lose()
        await asyncio.Event().wait()  # the block is left here


def _used(parts: Iterable[LocalPart]) -> Sums:
    total = Tally()
    for part in parts:
        total.add_all(part.used.sums)
    return total.sums


def _given_up(batch_id: str, stored: bytes) -> Result:
    line = read_line(stored)
    return not_executed(Asked(batch_id, line.number, line.custom_id), "processing_failed")
