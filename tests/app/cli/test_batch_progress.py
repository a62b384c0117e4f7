"""How far a batch is, as a terminal and as a log show it."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from app.cli.batch_progress import Bar, Lines, Rate, displayed, duration

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def batch(completed: int = 0, failed: int = 0, total: int = 0, status: str = "") -> dict[str, Any]:
    status = status or ("in_progress" if total else "validating")
    counts = {"completed": completed, "failed": failed, "total": total}
    return {"id": "batch_1", "status": status, "request_counts": counts}


def test_a_rate_is_that_of_the_last_two_minutes() -> None:
    rate = Rate()
    for now in range(0, 600, 10):
        rate.add(now, now * 50)
    for now in range(600, 730, 10):
        rate.add(now, 600 * 50 + (now - 600) * 2)
    assert rate.per_second() == pytest.approx(2)


def test_results_that_are_counted_in_leaps_give_a_rate_between_them() -> None:
    rate = Rate()
    for now in range(100):
        rate.add(now, now // 30 * 300)
    assert rate.per_second() == pytest.approx(900 / 99)


def test_nothing_that_moves_has_no_rate() -> None:
    rate = Rate()
    assert rate.per_second() == 0
    rate.add(0, 5)
    assert rate.per_second() == 0
    rate.add(10, 5)
    assert rate.per_second() == 0


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_log_has_counts_failures_rate_and_the_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    log = Lines(clock)
    log.show(batch())
    log.show(batch(0, 0, 10_000))
    clock.now += 10
    log.show(batch(480, 20, 10_000))
    clock.now += 10
    log.show(batch(9_980, 20, 10_000, "finalizing"))
    assert lines_of(capsys) == [
        "validating",
        "in_progress, 0/10,000",
        "in_progress, 500/10,000, 20 failed, 50 lines/s, 0:03:10 left",
        "finalizing, 10,000/10,000, 20 failed",
    ]


def test_a_log_has_a_line_every_few_seconds_and_seldom_if_nothing_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    log = Lines(clock)
    for done in range(20):
        log.show(batch(done, 0, 100))
        clock.now += 1
    assert len(lines_of(capsys)) == 4
    for _ in range(180):
        log.show(batch(19, 0, 100))
        clock.now += 1
    assert len(lines_of(capsys)) == 3


def test_a_log_says_that_the_server_is_away_once_a_minute_and_that_it_is_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    log = Lines(clock)
    log.tell(None)
    for _ in range(130):
        log.tell("away")
        clock.now += 1
    log.tell(None)
    log.tell(None)
    assert lines_of(capsys) == ["away", "away", "away", "the server answers again"]


@pytest.fixture
def screen() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})


def shown(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return ESCAPES.sub("", screen.file.getvalue())


def test_a_bar_fits_a_terminal_of_80_columns(screen: Console) -> None:
    clock = Clock()
    bar = Bar(screen, clock)
    bar.show(batch())
    bar.show(batch(0, 0, 50_000))
    clock.now += 3725
    bar.show(batch(12_000, 345, 50_000))
    bar.close()
    text = shown(screen)
    assert re.search(r"in_progress  \S+  12,345/50,000\n", text)
    assert re.search(r" 345 failed   3.31 lines/s   3:09:22 left +1:02:05", text)
    assert all(len(line) <= 80 for line in re.split(r"[\r\n]+", text))


def test_trouble_stands_below_the_bar_and_goes_with_it(screen: Console) -> None:
    bar = Bar(screen, Clock())
    bar.show(batch(1, 0, 2))
    bar.tell("the server does not answer, asking again in 30 s")
    bar.show(batch(1, 0, 2))
    assert "the server does not answer, asking again in 30 s" in shown(screen)
    screen.file = io.StringIO()
    bar.tell(None)
    bar.show(batch(1, 0, 2))
    bar.close()
    assert "does not answer" not in shown(screen)


def test_trouble_before_there_is_a_bar_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar(Console(file=io.StringIO()), Clock())
    bar.tell("away")
    assert lines_of(capsys) == ["away"]


def test_only_a_terminal_that_can_draw_gets_a_bar(screen: Console) -> None:
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    for console, kind in ((screen, Bar), (dumb, Lines), (Console(file=io.StringIO()), Lines)):
        with displayed(console) as display:
            assert isinstance(display, kind)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00:00"), (3725, "1:02:05"), (180_000, "2 days, 2:00:00")]
)
def test_a_time_span_is_written_in_hours(seconds: float, text: str) -> None:
    assert duration(seconds) == text
