"""Results from many parts are written in the order of the client's lines."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.batches.gathered import Gathered
from app.batches.results import Result, part_line


@pytest.fixture
def gathered(tmp_path: Path) -> Iterator[Gathered]:
    with closing(Gathered(tmp_path / "results")) as gathered:
        yield gathered


def part(path: Path, *numbers: int) -> Path:
    results = (Result(number, number % 3 != 0, b'{"n":%d}' % number) for number in numbers)
    path.write_bytes(b"".join(map(part_line, results)))
    return path


def test_each_kind_is_written_in_order(gathered: Gathered, tmp_path: Path) -> None:
    parts = [part(tmp_path / "a", 7, 2, 3), part(tmp_path / "b", 1, 10, 6)]
    gathered.add_parts(parts)
    written = gathered.write(tmp_path / "out", is_ok=True, is_stopped=lambda: False)
    content = (tmp_path / "out").read_bytes()
    assert content == b'{"n":1}\n{"n":2}\n{"n":7}\n{"n":10}\n'
    assert written == (4, len(content), hashlib.sha256(content).hexdigest())
    gathered.write(tmp_path / "bad", is_ok=False, is_stopped=lambda: False)
    assert (tmp_path / "bad").read_bytes() == b'{"n":3}\n{"n":6}\n'
    assert [gathered.count(), gathered.count(is_ok=True)] == [6, 4]
    assert not any(path.exists() for path in parts)


def test_a_line_keeps_its_first_result(gathered: Gathered, tmp_path: Path) -> None:
    gathered.add(Result(1, True, b"first"))
    gathered.add(Result(1, False, b"second"))
    gathered.write(tmp_path / "out", is_ok=True, is_stopped=lambda: False)
    assert (tmp_path / "out").read_bytes() == b"first\n"
    assert gathered.count() == 1


def test_a_write_can_be_stopped(gathered: Gathered, tmp_path: Path) -> None:
    gathered.add_parts([part(tmp_path / "a", 1, 2)])
    written = gathered.write(tmp_path / "out", is_ok=True, is_stopped=lambda: True)
    assert written.lines == 0
