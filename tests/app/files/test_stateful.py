"""Any order of uploads, batches, deletions, crashes, rounds and sweeps: nothing needed is lost."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import update

from app.db.engine import Database
from app.db.migrate import migrate
from app.db.tables import BatchRow, FileRow
from app.files.errors import FileInUse
from tests.app.files.crashes import MortalStore, survives
from tests.app.files.test_crashes import check, check_nothing_is_left
from tests.app.files.world import KEEP_SECONDS, World
from tests.fixtures.databases import add_organization

OLD = KEEP_SECONDS + 60
LIVES = st.one_of(st.just(999), st.integers(1, 12))
PICKS = st.integers(0, 999)


@cache
def migrated() -> bytes:
    with tempfile.TemporaryDirectory() as room:
        path = Path(room, "template.sqlite3")

        async def make() -> None:
            database = Database(f"sqlite:///{path}")
            await migrate(database)
            await database.close()

        asyncio.run(make())
        return path.read_bytes()


class FilesMachine(RuleBasedStateMachine):
    """One organisation, whose server may be killed at any step of anything."""

    @initialize()
    def start(self) -> None:
        self.room = Path(tempfile.mkdtemp())
        (self.room / "test.sqlite3").write_bytes(migrated())
        self.runner = asyncio.Runner()
        self.runner.run(self._open())
        self.kept: set[str] = set()
        self.begun: dict[str, str] = {}

    async def _open(self) -> None:
        database = Database(f"sqlite:///{self.room / 'test.sqlite3'}")
        org_id = await add_organization(database, "mine")
        self.world = World(database, MortalStore(self.room / "store"), org_id, self.room)
        self.sweeping = self.world.sweep()

    def do(self, step: int, deed: Callable[[], Awaitable[object]]) -> bool:
        return self.runner.run(survives(step, self.world.database, self.world.store, deed))

    def files(self) -> list[str]:
        return sorted(self.runner.run(self.world.files()))

    def unfinished(self) -> list[str]:
        return [batch.id for batch in self.runner.run(self.world.unfinished())]

    @rule(life=LIVES, purpose=st.sampled_from(["batch", "fine_tuning"]))
    def upload(self, life: int, purpose: str) -> None:
        before = set(self.files())
        self.do(life, lambda: self.world.file(purpose=purpose))
        if purpose == "fine_tuning":
            self.kept |= set(self.files()) - before

    @precondition(lambda self: self.files())
    @rule(pick=PICKS, life=LIVES)
    def delete(self, pick: int, life: int) -> None:
        file_id = self.files()[pick % len(self.files())]
        self.kept.discard(file_id)

        async def deed() -> None:
            with suppress(FileInUse):
                await self.world.delete(file_id)

        self.do(life, deed)

    @precondition(lambda self: self.files())
    @rule(pick=PICKS, life=LIVES)
    def create_batch(self, pick: int, life: int) -> None:
        file_id = self.files()[pick % len(self.files())]

        async def deed() -> None:
            batch_id = await self.world.batch(file_id)
            assert batch_id is not None
            await self.world.work_on(batch_id)

        self.do(life, deed)

    @precondition(lambda self: bool(set(self.unfinished()) - set(self.begun)))
    @rule(pick=PICKS)
    def begin_end(self, pick: int) -> None:
        open_ = sorted(set(self.unfinished()) - set(self.begun))
        batch_id = open_[pick % len(open_)]
        self.begun[batch_id] = self.runner.run(self.world.begin_end(batch_id))

    @precondition(lambda self: self.begun)
    @rule(pick=PICKS, life=LIVES)
    def complete(self, pick: int, life: int) -> None:
        batch_id = sorted(self.begun)[pick % len(self.begun)]
        output = self.begun[batch_id]
        self.do(life, lambda: self.world.complete(batch_id, output))
        if batch_id not in self.unfinished():
            del self.begun[batch_id]
            assert output in self.files()

    @precondition(lambda self: self.files())
    @rule(pick=PICKS)
    def time_passes_for_files_and_ended_batches(self, pick: int) -> None:
        upto = self.files()[pick % len(self.files())]

        async def age() -> None:
            async with self.world.database.sessions.begin() as session:
                files = update(FileRow).where(FileRow.id <= upto)
                await session.execute(files.values(created_at=FileRow.created_at - OLD))
                times = {"completed_at": BatchRow.completed_at - OLD}
                await session.execute(update(BatchRow).values(times))

        self.runner.run(age())

    @rule(life=LIVES)
    def retain(self, life: int) -> None:
        self.do(life, self.world.retention().run_round)

    @rule(life=LIVES)
    def sweep(self, life: int) -> None:
        if not self.do(life, self.sweeping.sweep):
            self.sweeping = self.world.sweep()

    @invariant()
    def nothing_needed_is_missing(self) -> None:
        self.runner.run(check(self.world))
        assert self.kept <= set(self.files())
        assert set(self.begun.values()) <= self.runner.run(self.world.stored_files())

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.runner.run(check_nothing_is_left(self.world))
            self.nothing_needed_is_missing()
        finally:
            self.runner.run(self.world.database.close())
            self.runner.close()
            shutil.rmtree(self.room)


FilesMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestFiles = FilesMachine.TestCase
