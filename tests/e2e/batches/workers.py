"""Worker processes as a test sees them: started in no time, signalled, waited for, and reaped."""

import asyncio
import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.e2e.batches.waiting import until
from tests.e2e.batches.worker_process import Order, run

STOP_SECONDS = 20.0
FORKS = multiprocessing.get_context("forkserver")


def prepare() -> None:
    """Let processes begin with all that they import."""
    FORKS.set_forkserver_preload(["pytest", "tests.e2e.batches.worker_process"])


class WorkerProcess:
    """One worker process, from its start on."""

    def __init__(self, order: Order) -> None:
        self._process = FORKS.Process(target=run, args=(order,))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self._events = order.room / f"{self.pid}.events"

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """Have it end now, whatever it does, and wait until it has."""
        if self.is_alive:
            self.send(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> None:
        """Have it give back what it holds, and end."""
        if self.is_alive:
            self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.ended()
        finally:
            await self.kill()

    async def ended(self) -> None:
        """Wait for its end."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what it has told by this name."""
        return [event for event in read_events(self._events) if event["event"] == name]

    async def told(self, name: str, *, times: int = 1, seconds: float = 30.0) -> None:
        """Wait until it has told something so often."""

        async def has_told() -> bool:
            return len(self.events(name)) >= times

        await until(has_told, seconds=seconds)


@asynccontextmanager
async def running(*orders: Order) -> AsyncIterator[Sequence[WorkerProcess]]:
    """Run workers until the block ends; then they are told to stop, also stopped ones."""
    workers = [WorkerProcess(order) for order in orders]
    try:
        yield workers
    finally:
        for worker in workers:
            if worker.is_alive:
                worker.send(signal.SIGCONT)
        await asyncio.gather(*(worker.stop() for worker in workers))


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events of a file, of which the last may be cut off, or not be there yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def times_asked(room: Path) -> Counter[str]:
    """Count how often the processes of a room have asked each line."""
    events = [event for path in room.glob("*.events") for event in read_events(path)]
    return Counter(event["line"] for event in events if event["event"] == "asked")
