"""Stops an operation at its n-th step, for n = 1, 2, 3 … until it gets through, and looks after it.

Steps are the changes to the disk that Python announces to audit hooks, SQL statements and commits,
and calls of the engine. From one to the next nothing on disk changes but the inside of a file that
is being written, so that a kill before each step stands for a kill at any moment. Each attempt runs
in a process of its own on a copy of the same start; then another process, which knows nothing of
it, must find everything whole, and after a sweep nothing left over.

`python -m tests.e2e.crash_points OPERATION FAULT ROOM` prints, as JSON, how many steps there were
and what was found wrong after which.
"""

import asyncio
import errno
import itertools
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from adapters_registry.artifacts import unpublish
from adapters_registry.digest import artifact_digest
from adapters_registry.testing import RecordingHost
from adapters_registry.types import LoadedAdapter
from app.adapters import repository
from app.db.tables import FineTuningRow
from app.engine.base import (
    ChatJob,
    Delta,
    EngineDead,
    Job,
    ModelCard,
    Prompt,
    Run,
    Sampling,
    Usage,
)
from app.errors import ApiError
from tests.adapters_registry.adapters import SHAPES, lora_tensors, write_adapter
from tests.app.inference.stubs import StubPrompt
from tests.e2e.replica import GRACE_SECONDS, Replica, Told, running_replica

BASE = "base"
NAMES = ("mine", "mine", "other", "third")
"""Names of the contents; the second one is registered by `register` only."""
PLACES = 2
ENTRIES = 3.5
"""How many adapters the disk has room for, so that the fourth one makes another go."""
BEYOND_THE_LAST, STOPPED, WENT_WRONG = 0, 3, 4
PROBLEMS = "problems"
AT_ONCE = 2
CHANGES = frozenset({"os.mkdir", "os.rename", "os.remove", "os.rmdir"})
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

Step = Callable[[Exception], None]
Operation = Callable[[Replica], Awaitable[object]]


class HashingEngine:
    """Answers with the digest of the files that it was told to read."""

    card = ModelCard(BASE, "system", 512, 256, "fp_0123456789")

    def __init__(self, step: Step) -> None:
        self.adapters = SteppingHost(step)
        self._step = step

    async def prepare(self, job: Job) -> StubPrompt:
        return StubPrompt(job)

    async def generate(self, prompt: Prompt, run: Run) -> AsyncIterator[Delta]:
        self._step(EngineDead("gone"))
        assert run.adapter is not None
        assert run.adapter in self.adapters.known.values()
        usage = Usage(1, 1, 0, 0.0, 0.0, 0.0)
        text = artifact_digest(run.adapter.path)
        yield Delta(text, finish_reason="stop", usage=usage)

    async def probe(self, run: Run) -> None:
        async for _ in self.generate(StubPrompt(ChatJob((), Sampling(), "")), run):
            pass

    async def check(self) -> None:
        return None


class SteppingHost(RecordingHost):
    """A RecordingHost whose calls are steps."""

    def __init__(self, step: Step) -> None:
        super().__init__(PLACES, slots=1, shapes=SHAPES)
        self._step = step

    async def load(self, adapter: LoadedAdapter) -> None:
        self._step(EngineDead("gone"))
        await super().load(adapter)

    async def unload(self, adapter: LoadedAdapter) -> None:
        self._step(EngineDead("gone"))
        await super().unload(adapter)


class Stop:
    """Does `fault` at the n-th step after `arm`; `has_come` from then on."""

    def __init__(self, number: int, fault: Step) -> None:
        self._number = number
        self._fault = fault
        self._steps = itertools.count(1)
        self._is_armed = False
        self.has_come = False

    def arm(self) -> None:
        self._is_armed = True

    def disarm(self) -> None:
        self._is_armed = False

    def step(self, error: Exception) -> None:
        if self._is_armed and next(self._steps) == self._number:
            self.has_come = True
            self._fault(error)

    def audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name in CHANGES or (name == "open" and arguments[2] & WRITING):
            self.step(OSError(errno.EIO, "I/O error"))

    def statement(self, *_: object) -> None:
        self.step(OperationalError("", {}, Exception("disk I/O error")))


def kill(_: Exception) -> None:
    """End the process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail(error: Exception) -> None:
    """Fail as this step would."""
    raise error


FAULTS: dict[str, Step | None] = {"kill": kill, "fail": fail, "cancel": None}
"""What happens at a step; None cancels the operation."""


def replica_in(
    room: Path, engine: HashingEngine, *, ahead: float = 0.0
) -> AbstractAsyncContextManager[Replica]:
    """Run a replica on a machine of its own."""
    size = sum(file.stat().st_size for file in (room / "content-0").iterdir())
    return running_replica(
        {BASE: engine}, room, cache_bytes=int(size * ENTRIES), clock=lambda: time.time() + ahead
    )


async def register_content(replica: Replica, number: int) -> None:
    """Upload and register one of the contents."""
    file_id = await replica.upload(replica.room / f"content-{number}")
    await replica.adapters.register(
        replica.org_id, name=NAMES[number], base_model=BASE, input_file_id=file_id
    )


async def delete_first(replica: Replica) -> None:
    """Delete the first version of `mine`, and wait until its removal has come to its end."""
    with suppress(ApiError):
        await replica.adapters.delete(replica.org_id, (await _row(replica, "mine")).id)
    await replica.withdrawals.ended()


async def call_first(replica: Replica) -> None:
    """Make the first call, on a replica that has nothing on disk."""
    await replica.ask((await _row(replica, "mine")).fine_tuned_model, "Hello")


async def delete_artifact_first(replica: Replica) -> None:
    """Delete in the wrong order, which must be found out."""
    with suppress(ApiError):
        row = await _row(replica, "mine")
        await unpublish(replica.parts.store, row.stored_as)
        async with replica.parts.sessions.begin() as session:
            await repository.remove(session, row.org_id, row.id)


OPERATIONS: dict[str, Operation] = {
    "register": lambda replica: register_content(replica, 1),
    "delete": delete_first,
    "call": call_first,
    "wrong": delete_artifact_first,
}


async def make_start(room: Path, operation: str) -> None:
    """Make the state in which every attempt begins: all contents but one are registered."""
    for number, _ in enumerate(NAMES):
        write_adapter(room / f"content-{number}", lora_tensors(seed=number))
    async with replica_in(room, HashingEngine(lambda _: None)) as replica:
        for number in (0, 2, 3):
            await register_content(replica, number)
    if operation == "call":
        await asyncio.to_thread(shutil.rmtree, room / "replica")


async def attempt(room: Path, operation: str, fault: str, number: int) -> int:
    """Run the operation with the fault at its n-th step; say how it ended, unless it is killed."""
    task: asyncio.Task[Any] | None = None

    def cancel(_: Exception) -> None:
        assert task is not None
        task.get_loop().call_soon_threadsafe(task.cancel)

    stop = Stop(number, FAULTS[fault] or cancel)
    sys.addaudithook(stop.audit)
    engine = HashingEngine(stop.step)
    async with replica_in(room, engine) as replica:
        bind = replica.parts.sessions.kw["bind"].sync_engine
        event.listen(bind, "before_cursor_execute", stop.statement)
        event.listen(bind, "commit", stop.statement)
        known = asyncio.all_tasks()
        task = asyncio.ensure_future(OPERATIONS[operation](replica))
        stop.arm()
        await asyncio.wait([task])
        await _others(known)
        stop.disarm()
        if not stop.has_come:
            task.result()
            return BEYOND_THE_LAST
        _ = task.cancelled() or task.exception()
        problems = [*engine.adapters.violations, *await _held(replica), *await _unanswered(replica)]
        if fault == "cancel":
            problems += _temporary(replica)
    _note(room, problems)
    return STOPPED


def restarted(room: Path) -> AbstractAsyncContextManager[Replica]:
    """Run a replica with a new engine, when the grace of what was left behind is over."""
    return replica_in(room, HashingEngine(lambda _: None), ahead=2 * GRACE_SECONDS)


async def examine(room: Path, operation: str) -> int:
    """Find out what is wrong, as a new process after a restart does; repeat the operation."""
    async with restarted(room) as replica:
        problems = [*await _unanswered(replica), *_temporary(replica)]
    # So that the store alone must answer, and what it never finished was begun long ago.
    await asyncio.to_thread(shutil.rmtree, room / "replica")
    for file in (room / "store" / "~incoming").iterdir():
        os.utime(file, (0, 0))
    async with restarted(room) as replica:
        problems += await _unanswered(replica)
        await OPERATIONS[operation](replica)
        await _sweep(replica)
        problems += [*await _unanswered(replica), *await _orphans(replica)]
    _note(room, problems)
    return STOPPED


async def _sweep(replica: Replica) -> None:
    replica.age_cache()
    await replica.sweeper.sweep()
    for _ in range(2):  # the first one only suspects
        await replica.orphans.sweep()


async def _unanswered(replica: Replica) -> list[str]:
    """Return the versions and names that do not answer with their own weights."""
    problems = []
    for row in await replica.rows():
        current = await _row(replica, row.name)
        for model, expected in (
            (row.fine_tuned_model, row),
            (row.fine_tuned_model.rpartition("-")[0], current),
        ):
            right = Told(expected.digest, expected.fine_tuned_model, expected.digest)
            try:
                told = await replica.ask(model, "Hello")
            except ApiError as error:
                problems.append(f"{row.name} is answered with {error.status}")
            else:
                problems += [] if told == right else [f"{row.name} is answered wrongly"]
    return problems


async def _held(replica: Replica) -> list[str]:
    host = replica.parts.registry.stats().hosts[BASE]
    held = host.residents.leased + host.residents.waiting + host.turns.running + host.turns.waiting
    return [f"{held} leases are held"] if held else []


async def _orphans(replica: Replica) -> list[str]:
    """Return the files in store and cache that belong to no row."""
    rows = await replica.rows()
    store, cache = replica.room / "store", replica.local / "cache"
    known = {f"artifacts/{row.stored_as}" for row in rows} | {"", "files"}
    found = {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}
    problems = [
        f"{path} is left in the store" for path in found if path.rpartition("/")[0] not in known
    ]
    digests = {row.digest for row in rows} | {"tmp"}
    return problems + [
        f"{entry.name} is left on disk" for entry in cache.iterdir() if entry.name not in digests
    ]


def _temporary(replica: Replica) -> list[str]:
    """Return what lies in the directories for what is under way, which is nothing."""
    (session,) = (replica.local / "cache" / "tmp").iterdir()
    return [
        f"{path.name} is left in {directory.name}"
        for directory in (session, replica.local / "work")
        for path in directory.iterdir()
    ]


async def _row(replica: Replica, name: str) -> FineTuningRow:
    """Return the current version of a name."""
    rows = [row for row in await replica.rows() if row.name == name]
    if not rows:
        raise ApiError(404, "no such name")
    return max(rows, key=lambda row: (row.activation, row.id))


async def _others(known: "set[asyncio.Task[Any]]") -> None:
    """Wait for all that runs in the background, but for the tasks that are known."""
    while others := asyncio.all_tasks() - known:
        await asyncio.wait(others)


def _note(room: Path, problems: list[str]) -> None:
    with (room / PROBLEMS).open("a") as file:
        file.writelines(f"{problem}\n" for problem in problems)


def in_process(work: Callable[[], int]) -> int:
    """Run it in a new process; return that one's pid."""
    child = os.fork()
    if child == 0:
        code = WENT_WRONG
        try:
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def end_of(child: int) -> int:
    """Wait for a process; return its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def try_step(start: Path, room: Path, operation: str, fault: str, number: int) -> int:
    """Stop the operation at one step of it, and examine what is left."""
    shutil.copytree(start, room)
    attempted = partial(attempt, room, operation, fault, number)
    code = end_of(in_process(lambda: asyncio.run(attempted())))
    if code in (STOPPED, -signal.SIGKILL):
        return asyncio.run(examine(room, operation))
    return code


def main(operation: str, fault: str, room: Path) -> None:
    """Stop the operation at each of its steps; print what was found."""
    # Tracebacks of the failures that are meant to come would take most of the time.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    # A killed process loses nothing that it has written: only a machine that fails does.
    os.fsync = lambda fd: None
    start = room / "start"
    start.mkdir(parents=True)
    asyncio.run(make_start(start, operation))
    assert threading.active_count() == 1, "a process with threads must not be forked"
    found: dict[int, list[str]] = {}
    steps = 0
    for first in itertools.count(1, AT_ONCE):
        rooms = {number: room / str(number) for number in range(first, first + AT_ONCE)}
        children = [
            in_process(partial(try_step, start, here, operation, fault, number))
            for number, here in rooms.items()
        ]
        codes = [end_of(child) for child in children]
        assert set(codes) <= {STOPPED, BEYOND_THE_LAST}, "an attempt or its examination broke"
        steps += codes.count(STOPPED)
        for (number, here), code in zip(rooms.items(), codes, strict=True):
            if code == STOPPED and (problems := (here / PROBLEMS).read_text().splitlines()):
                found[number] = problems
            shutil.rmtree(here)
        if BEYOND_THE_LAST in codes:
            break
    print(json.dumps({"steps": steps, "problems": found}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
