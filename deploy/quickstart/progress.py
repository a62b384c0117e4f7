"""Shows that long work is alive: a moving bar on a terminal, plain lines everywhere else."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

PLAIN_WIDTH = 120
HEARTBEAT_SECONDS = 10.0

Advance = Callable[[], None]

_detected = Console(stderr=True)
console = _detected if _detected.is_terminal else Console(stderr=True, width=PLAIN_WIDTH)


@contextmanager
def task(description: str, *, steps: int | None = None) -> Iterator[Advance]:
    """Report `description` as running until the block ends; call the yielded value per step."""
    started = time.monotonic()
    show = _bar if console.is_terminal else _lines
    with show(description, steps) as advance:
        yield advance
    console.print(f"{description}: done in {time.monotonic() - started:.1f} s", highlight=False)


@contextmanager
def _bar(description: str, steps: int | None) -> Iterator[Advance]:
    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console, transient=True) as progress:
        running = progress.add_task(description, total=steps)
        yield lambda: progress.advance(running)


@contextmanager
def _lines(description: str, steps: int | None) -> Iterator[Advance]:
    finished, done, started = Event(), [0], time.monotonic()

    def beat() -> None:
        while not finished.wait(HEARTBEAT_SECONDS):
            share = f" {done[0]}/{steps}," if steps else ""
            print(f"  …{share} {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    def advance() -> None:
        done[0] += 1

    print(f"{description} …", file=sys.stderr, flush=True)
    heart = Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield advance
    finally:
        finished.set()
        heart.join()
