"""What is said of lines that have no result when their batch ends."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.batches.finalizer import add_unfinished
from app.batches.gathered import Gathered
from app.batches.lines import CHAT, stored_line
from app.batches.results import Result
from app.batches.steps import EndedChunk
from app.batches.types import Step
from app.ids import new_id
from tests.app.batches.lines import written

HOSTILE = [
    '"',
    "\\",
    "a\nb\r\n",
    "\x00\x1f\x7f",
    "\u2028\u2029",
    "😀é",
    "{}",
    " ",
    "/../x",
    "\ufeff",
]
STEP = Step(new_id("batch"), new_id("org"), "token")


@pytest.fixture
def gathered(tmp_path: Path) -> Iterator[Gathered]:
    with closing(Gathered(tmp_path / "results")) as gathered:
        yield gathered


def source(directory: Path, names: list[str]) -> tuple[Path, EndedChunk]:
    lines = [stored_line(number, CHAT, written(name)) for number, name in enumerate(names, 1)]
    path = directory / "input"
    path.write_bytes(b"".join(lines))
    return path, EndedChunk(0, path.stat().st_size, len(lines), 0, ())


def test_any_name_of_a_line_comes_back_as_it_was(gathered: Gathered, tmp_path: Path) -> None:
    path, chunk = source(tmp_path, HOSTILE)
    add_unfinished(gathered, path, [chunk], STEP, "batch_expired", lambda: False)
    gathered.write(tmp_path / "out", is_ok=False, is_stopped=lambda: False)
    told = [json.loads(line) for line in (tmp_path / "out").read_bytes().split(b"\n")[:-1]]
    assert [each["custom_id"] for each in told] == HOSTILE
    assert {each["error"]["code"] for each in told} == {"batch_expired"}


def test_a_line_with_a_result_keeps_it(gathered: Gathered, tmp_path: Path) -> None:
    path, chunk = source(tmp_path, ["a", "b"])
    gathered.add(Result(1, True, b"{}"))
    add_unfinished(gathered, path, [chunk], STEP, "batch_cancelled", lambda: False)
    assert (gathered.count(is_ok=True), gathered.count(is_ok=False)) == (1, 1)


def test_it_ends_when_nobody_waits(gathered: Gathered, tmp_path: Path) -> None:
    path, chunk = source(tmp_path, ["a", "b", "c"])
    stops = iter([False, True])
    add_unfinished(gathered, path, [chunk], STEP, "batch_expired", lambda: next(stops))
    assert gathered.count() == 1
