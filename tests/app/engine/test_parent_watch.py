"""A process that vLLM starts ends when the one that started it is killed."""

import os
import signal
import subprocess
import sys

import psutil

from app.engine import parent_watch

PARENT = """
import multiprocessing, sys, time
from tests.app.engine.test_parent_watch import child

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    process = context.Process(target=child)
    process.start()
    print(process.pid, flush=True)
    process.join()
"""


def child() -> None:
    """Be an engine process, which waits for ever."""
    parent_watch.register()
    parent_watch.register()
    signal.pause()


def _child_of_a_killed_process(method: str) -> psutil.Process:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, method], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        started = psutil.Process(int(parent.stdout.readline()))
        assert started.is_running()
        os.kill(parent.pid, signal.SIGKILL)
    return started


def test_a_spawned_process_ends_with_its_parent():
    started = _child_of_a_killed_process("spawn")
    assert psutil.wait_procs([started], timeout=10)[1] == []


def test_a_forked_process_ends_with_its_parent():
    started = _child_of_a_killed_process("fork")
    assert psutil.wait_procs([started], timeout=10)[1] == []


def test_the_first_process_is_not_watched():
    before = len(psutil.Process().threads())
    parent_watch.register()
    assert len(psutil.Process().threads()) == before
