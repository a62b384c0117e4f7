"""Two processes over one database in any order of their calls, deaths and leases that end."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs

from app.batches import repository
from app.batches.types import STATUSES, UNFINISHED
from app.db.engine import Database
from app.db.migrate import migrate
from tests.app.batches.farm import ENDED, Farm, line, lines
from tests.app.batches.processes import Process

T = TypeVar("T")
HELD_SECONDS = 0.02
sides = st.integers(0, 1)
FOLLOWING = {
    "validating": {"in_progress", "failed", "cancelling"},
    "in_progress": {"finalizing", "cancelling"},
    "finalizing": {"completed", "expired"},
    "cancelling": {"cancelled"},
}


@cache
def migrated() -> bytes:
    """Return a SQLite file that holds the schema."""

    async def make(path: Path) -> None:
        database = Database(f"sqlite+aiosqlite:///{path}")
        await migrate(database)
        await database.close()

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "template.sqlite3"
        asyncio.run(make(path))
        return path.read_bytes()


class WorkersMachine(RuleBasedStateMachine):
    """What clients, operators and accidents may do, between any two calls of the processes."""

    def __init__(self) -> None:
        super().__init__()
        content = migrated()
        self.directory = tempfile.TemporaryDirectory()
        self.logs = capture_logs()
        self.logs.__enter__()
        self.runner = asyncio.Runner()
        self.runner.get_loop().set_exception_handler(lambda loop, context: None)
        root = Path(self.directory.name)
        (root / "test.sqlite3").write_bytes(content)
        self.database = Database(f"sqlite+aiosqlite:///{root / 'test.sqlite3'}")
        self.farm: Farm = self.run_(lambda: Farm.open(self.database, root))
        self.processes: list[Process] = []
        self.batches: dict[str, list[Any]] = {}
        self.seen: dict[str, str] = {}

    def run_(self, work: Callable[[], Awaitable[T]]) -> T:
        async def done() -> T:
            return await work()

        return self.runner.run(done())

    @initialize()
    def start(self) -> None:
        for _ in range(2):
            self.run_(self._start)

    async def _start(self) -> None:
        process = self.farm.process(chunk_lines=2, poll_seconds=0.001, checkpoint_seconds=0.001)
        process.fate.hold()
        process.worker.start()
        self.processes.append(process)

    @precondition(lambda self: len(self.batches) < 3)
    @rule(good=st.integers(1, 5), refused=st.integers(0, 1))
    def add(self, good: int, refused: int) -> None:
        asked = [*lines(good), *(line("bad", do="refuse") for _ in range(refused))]
        self.batches[self.run_(lambda: self.farm.add(asked))] = asked

    @rule(side=sides, calls=st.integers(1, 10))
    def go_on(self, side: int, calls: int) -> None:
        for _ in range(calls):
            self.run_(lambda: self._go_on(self.processes[side]))

    @rule(calls=st.integers(10, 40))
    def both_go_on(self, calls: int) -> None:
        for call in range(calls):
            self.run_(lambda: self._go_on(self.processes[call % 2]))  # noqa: B023

    async def _go_on(self, process: Process) -> None:
        before = process.fate.points
        process.fate.go_on()
        for _ in range(20):
            await asyncio.sleep(HELD_SECONDS / 20)
            if process.fate.points > before:
                return

    @rule(side=sides)
    def die(self, side: int) -> None:
        self.run_(self.processes.pop(side).kill)
        self.run_(self._start)

    @rule()
    def end_leases(self) -> None:
        self.run_(self.farm.end_leases)

    @precondition(lambda self: "in_progress" in self.seen.values())
    @rule(data=st.data(), is_cancelled=st.booleans())
    def end_early(self, data: st.DataObject, is_cancelled: bool) -> None:
        running = [batch_id for batch_id, status in self.seen.items() if status == "in_progress"]
        batch_id = data.draw(st.sampled_from(running))
        if is_cancelled:
            self.run_(lambda: self._cancel(batch_id))
        else:
            self.run_(lambda: self.farm.change(batch_id, expires_at=1))

    async def _cancel(self, batch_id: str) -> None:
        async with self.database.sessions.begin() as session:
            await repository.cancel(session, self.farm.org_id, batch_id)

    @invariant()
    def statuses_follow_one_another(self) -> None:
        for batch_id in self.batches:
            status = self.run_(lambda id=batch_id: self.farm.row(id)).status  # type: ignore[misc]
            assert status in STATUSES
            self._require_way(self.seen.get(batch_id, "validating"), status)
            self.seen[batch_id] = status

    def _require_way(self, before: str, now: str) -> None:
        reached = {before}
        for _ in FOLLOWING:
            reached |= {after for status in reached for after in FOLLOWING.get(status, ())}
        assert now in reached

    @invariant()
    def what_has_ended_is_whole(self) -> None:
        for batch_id, status in self.seen.items():
            if status in ENDED:
                asked = self.batches[batch_id]
                self.run_(lambda id=batch_id, of=asked: self.farm.check(id, of))  # type: ignore[misc]

    def teardown(self) -> None:
        try:
            self.run_(self._end_all)
            self.statuses_follow_one_another()
            self.what_has_ended_is_whole()
            assert not {*self.seen.values()} & {*UNFINISHED}
        finally:
            self.run_(self.database.close)
            self.runner.close()
            self.logs.__exit__(None, None, None)
            self.directory.cleanup()

    async def _end_all(self) -> None:
        for process in self.processes:
            await process.kill()
        await self.farm.end_leases()
        async with self.farm.working(self.farm.process(chunk_lines=2)):
            await self.farm.ended(*self.batches)


TestWorkers = WorkersMachine.TestCase
TestWorkers.settings = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
