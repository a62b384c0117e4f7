"""A process's work on chunks: it holds as many as keep its models busy, and runs them."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from uuid import uuid4

import structlog

from app.batches import chunks, room
from app.batches.chunk_run import TASK, ChunkPorts, ChunkRun
from app.batches.line_turns import LineTurns
from app.batches.observer import BatchObserver
from app.batches.types import Capacity

log = structlog.get_logger()

MOST_REMEMBERED = 10_000


class ChunkWork:
    """The chunks that this process holds. `on_end` is called whenever one is not held any more."""

    def __init__(
        self,
        ports: ChunkPorts,
        capacity: Capacity,
        observer: BatchObserver,
        *,
        lease_seconds: int,
        on_end: Callable[[], None],
    ) -> None:
        self._ports = ports
        self._capacity = capacity
        self._observer = observer
        self._lease_seconds = lease_seconds
        self._on_end = on_end
        self._turns: dict[str, LineTurns] = {}
        self._served: dict[str, int] = {}
        self._numbers = count(1)
        self._dry: set[str] = set()
        self._left = asyncio.Event()
        self._is_closing = False
        self.runs: dict[str, ChunkRun] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def take(self) -> None:
        """Take chunks of every model that there is room for."""
        self._dry.clear()
        for model in ("", *self._capacity.models):
            while await self._take(model):
                pass
            self._turns_of(model).offer()

    def wants(self, model: str) -> bool:
        """Tell whether chunks of a model should be taken now; not where there were none lately."""
        if model in self._dry:
            return False
        opening = room.opening(model, self.runs.values(), self._capacity)
        return opening is not None and not opening.not_of

    def lose(self, token: str) -> None:
        """End a chunk that is another's now, if it still runs."""
        if run := self.runs.get(token):
            self._observer.batch_lease_lost()
            run.lose()
            self._left.set()

    def end(self, token: str) -> None:
        """End a chunk whose lines need no answer any more; what it has is kept."""
        if run := self.runs.get(token):
            run.stop()
            self._left.set()

    def stop(self) -> None:
        """End all, and give back what is not finished."""
        self._is_closing = True
        for token in self.runs:
            self.end(token)

    async def _take(self, model: str) -> bool:
        opening = room.opening(model, self.runs.values(), self._capacity)
        if self._is_closing or opening is None or not await self._ports.liveness.is_up(model):
            return False
        token = uuid4().hex
        async with self._ports.sessions.begin() as session:
            held = await chunks.claim(
                session, opening, token, self._served, lease_seconds=self._lease_seconds
            )
        if held is None:
            self._dry.add(model)
            return False
        self._note(held.org_id)
        self._start(ChunkRun(held, self._turns_of(model), self._ports))
        return True

    def _start(self, run: ChunkRun) -> None:
        self.runs[run.held.token] = run
        if self._is_closing:
            run.stop()
        task = asyncio.create_task(self._run(run), name=TASK)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _note(self, org_id: str) -> None:
        """Remember whom this process has taken a chunk of, and in which order."""
        if len(self._served) >= MOST_REMEMBERED:
            self._served.clear()
        self._served[org_id] = next(self._numbers)

    def _turns_of(self, model: str) -> LineTurns:
        if model not in self._turns:
            self._turns[model] = LineTurns(partial(room.most_lines, model, self._capacity))
        return self._turns[model]

    async def _run(self, run: ChunkRun) -> None:
        begun = time.monotonic()
        try:
            if run.held.is_careful:
                await self._alone(run)
            await run.run()
        except Exception as error:
            # What a chunk brings about is its own. Its lease runs out, and the attempt has counted.
            self._observer.background_failed(TASK)
            log.error("batch chunk failed", exc_info=error)
        finally:
            del self.runs[run.held.token]
            self._left.set()
            self._on_end()
            self._observer.batch_chunk_ended(run.held.model, time.monotonic() - begun)

    async def _alone(self, run: ChunkRun) -> None:
        """Wait until no other chunk runs here; none is taken meanwhile."""
        while len(self.runs) > 1 and not run.is_stopped:
            self._left.clear()
            await self._left.wait()
