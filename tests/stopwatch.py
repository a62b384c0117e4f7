"""How long code takes on the CPU, whatever else the machine and the test session are doing."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Stopwatch:
    """`seconds` is set when the block ends."""

    seconds: float = 0.0


@contextmanager
def cpu_time() -> Iterator[Stopwatch]:
    """Measure this thread's CPU seconds, without garbage collections: a session's heap is large."""
    watch = Stopwatch()
    gc.disable()
    started = time.thread_time()
    try:
        yield watch
    finally:
        watch.seconds = time.thread_time() - started
        gc.enable()
