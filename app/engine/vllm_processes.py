"""The processes that vLLM starts for one engine: their end while they start, and what they leave.

vLLM tells of its processes when they are ready, and leaves it to them to remove their shared
memory: where one is killed, that would stay until the server ends. Only Python's own segments are
removed, and only those that the engine was seen to hold.
"""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

from vllm.v1.engine import core_client
from vllm.v1.engine.utils import CoreEngineLaunch, launch_core_engines

PROC = Path("/proc")
SEGMENT = re.compile(r" /dev/shm/(psm_\w+)$", re.MULTILINE)
"""How a process's maps name one that has not been removed."""


class EngineProcesses:
    """Those of one engine, from their first moment on. Methods block for milliseconds."""

    def __init__(self) -> None:
        self._managers: list[Any] = []
        self._segments: set[str] = set()

    @contextmanager
    def taken_in(self) -> Iterator[None]:
        """Take in what this thread, or task, has vLLM start within the block."""
        core_client.launch_core_engines = _noted
        token = _starting.set(self)
        try:
            yield
        finally:
            _starting.reset(token)

    def look(self) -> None:
        """See which shared memory they hold: of the dead, nobody can tell."""
        for pid in self._alive():
            self._segments |= _segments(pid)

    def kill(self) -> None:
        """End all that are there, at whatever point of their start; vLLM then gives the start up.

        To be called until it has, since there may be more of them later. Ray's actors are left
        alone, for vLLM would wait for them.
        """
        self.look()
        for pid in self._alive():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def free(self) -> None:
        """Remove what they have left of their shared memory; to be called when they have ended."""
        segments, self._segments = self._segments, set()
        for name in segments:
            with suppress(FileNotFoundError):
                segment = SharedMemory(name)
                segment.close()
                segment.unlink()

    def add(self, launch: CoreEngineLaunch) -> None:
        """Take in what vLLM has launched."""
        if launch.engine_manager is not None:
            self._managers.append(launch.engine_manager)

    def _alive(self) -> list[int]:
        """Return them, each after the one that started it: that one is to start no more."""
        started = [each for manager in self._managers for each in _processes(manager)]
        return _families([each.pid for each in started if each.is_alive()])


_starting: ContextVar[EngineProcesses | None] = ContextVar("starting", default=None)


@contextmanager
def _noted(*args: Any, **kwargs: Any) -> Iterator[CoreEngineLaunch]:
    """Stand for vLLM's own function, and tell what it launches before anybody waits for it.

    **Source:** vllm.v1.engine.utils.launch_core_engines (0.32), which waits at its block's end.
    """
    with launch_core_engines(*args, **kwargs) as launch:
        if (processes := _starting.get()) is not None:
            processes.add(launch)
        yield launch


def _processes(manager: Any) -> list[Any]:
    """Return what was started on this machine, and not by Ray."""
    return getattr(manager, "processes", [])


def _families(roots: list[int]) -> list[int]:
    """Return processes with all that they have started, and those in turn."""
    children: dict[int, list[int]] = {}
    for entry in PROC.glob("[0-9]*/stat") if roots else ():
        # The parent is the second field behind the name, which may hold anything.
        with suppress(OSError):
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found = list(roots)
    for pid in found:  # which grows meanwhile
        found += children.get(pid, [])
    return found


def _segments(pid: int) -> set[str]:
    try:
        return set(SEGMENT.findall((PROC / str(pid) / "maps").read_text()))
    except OSError:
        return set()
