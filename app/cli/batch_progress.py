"""How far a batch is: a bar on a terminal, a line of text now and then anywhere else."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.cli.batch_client import Batch
from app.cli.http_client import show

WINDOW_SECONDS = 120.0
"""Of the rate: results are counted when they are stored, every half a minute by default."""
LINE_SECONDS = 5.0
"""Least time between two lines of text about the same status."""
SILENCE_SECONDS = 60.0
"""After which a line is written though nothing has changed."""
STATUSES_OF_WORK = ("in_progress", "finalizing", "cancelling")

Clock = Callable[[], float]


class Display(Protocol):
    """What a user watches a batch on."""

    def show(self, batch: Batch) -> None:
        """Show how far it is."""
        ...

    def tell(self, trouble: str | None) -> None:
        """Say why nothing new is known; None once that is over."""
        ...


class Rate:
    """Lines per second over a moving window."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, done: int) -> None:
        """Take in how many lines were done at a time; they never become fewer."""
        self._seen.append((now, done))
        while len(self._seen) > 1 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()

    def per_second(self) -> float:
        """Return the rate; 0 as long as nothing has moved."""
        if not self._seen:
            return 0.0
        (began, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - began) if now > began else 0.0


class Progress:
    """Counts of a batch over time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock()
        self._rate = Rate()
        self.status = ""
        self.done = self.failed = self.total = 0

    def take(self, batch: Batch) -> None:
        """Take in the newest state."""
        counts = batch["request_counts"]
        self.status, self.failed, self.total = batch["status"], counts["failed"], counts["total"]
        self.done = counts["completed"] + self.failed
        if self.status in STATUSES_OF_WORK:
            self._rate.add(self._clock(), self.done)

    @property
    def counts(self) -> str:
        """Lines done of all, once their number is known."""
        return f"{self.done:,}/{self.total:,}" if self.total else ""

    def facts(self) -> list[str]:
        """Return what there is to say beside the counts."""
        rate, left = self._rate.per_second(), self.total - self.done
        facts = [f"{self.failed:,} failed"] if self.failed else []
        if self.status == "in_progress" and left and rate:
            facts += [f"{rate:.3g} lines/s", f"{duration(left / rate)} left"]
        return facts

    def elapsed(self) -> str:
        """Return how long this has been watched."""
        return duration(self._clock() - self._began)


class Bar:
    """A bar that stays in its place; trouble is told below it."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._progress = Progress(clock)
        self._trouble: str | None = None
        self._live = Live(
            console=console, get_renderable=self._render, transient=True, refresh_per_second=4
        )

    def show(self, batch: Batch) -> None:
        """Show how far it is."""
        self._progress.take(batch)
        self._live.start()
        self._live.refresh()

    def tell(self, trouble: str | None) -> None:
        """Say why nothing new is known; None once that is over."""
        self._trouble = trouble
        if trouble and not self._live.is_started:
            show(trouble, style="yellow")

    def close(self) -> None:
        """Take the bar away."""
        self._live.stop()

    def _render(self) -> Table:
        progress = self._progress
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(no_wrap=True, justify="right")
        bar = ProgressBar(progress.total or None, progress.done, pulse=not progress.total)
        table.add_row(Text(progress.status), bar, Text(progress.counts))
        if self._trouble:
            told = Text(self._trouble, style="yellow", overflow="fold")
        else:
            told = Text("   ".join(progress.facts()), style="dim")
        table.add_row(Text(""), told, Text(progress.elapsed(), style="dim"))
        return table


class Lines:
    """Lines of text, for a log: not more often than anybody would read them."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._progress = Progress(clock)
        self._written: tuple[float, str, int] | None = None
        self._troubled: float | None = None

    def show(self, batch: Batch) -> None:
        """Write a line if there is something new to say, or nothing was said for a while."""
        progress = self._progress
        progress.take(batch)
        now = self._clock()
        if not self._is_due(now):
            return
        self._written = (now, progress.status, progress.done)
        show(", ".join(filter(None, (progress.status, progress.counts, *progress.facts()))))

    def tell(self, trouble: str | None) -> None:
        """Write why nothing new is known, and that it is over."""
        now = self._clock()
        if trouble and (self._troubled is None or now - self._troubled >= SILENCE_SECONDS):
            self._troubled = now
            show(trouble)
        elif not trouble and self._troubled is not None:
            self._troubled = None
            show("the server answers again")

    def close(self) -> None:
        """Do nothing: what is written stays."""

    def _is_due(self, now: float) -> bool:
        if self._written is None:
            return True
        at, status, done = self._written
        if self._progress.status != status:
            return True
        quiet = LINE_SECONDS if self._progress.done != done else SILENCE_SECONDS
        return now - at >= quiet


@contextmanager
def displayed(console: Console) -> Iterator[Display]:
    """Give what suits the console, until the block ends."""
    can_redraw = console.is_terminal and not console.is_dumb_terminal
    display = Bar(console) if can_redraw else Lines()
    try:
        yield display
    finally:
        display.close()


def duration(seconds: float) -> str:
    """Write a time span as `0:12:30`, or `2 days, 0:00:00`."""
    return str(timedelta(seconds=round(seconds)))
