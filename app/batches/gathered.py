"""All results of a batch on local disk, to be written out in the order of the client's lines."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from app.batches.results import Result, read_part_line


class Written(NamedTuple):
    """What a file of results holds; `sha256` is in hex."""

    lines: int
    bytes: int
    sha256: str


class _Place(NamedTuple):
    start: int
    length: int
    is_ok: bool


class Gathered:
    """Results in one file, found by their numbers. All methods block on local disk.

    In memory is where each result lies, and one result at a time.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._end = 0
        self._places: dict[int, _Place] = {}

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def has(self, number: int) -> bool:
        """Tell whether a line has a result."""
        return number in self._places

    def count(self, *, is_ok: bool | None = None) -> int:
        """Count results, of one kind or all."""
        return sum(is_ok in (None, place.is_ok) for place in self._places.values())

    def add(self, result: Result) -> None:
        """Take in a result. A line keeps the one it has."""
        if not self.has(result.number):
            self._places[result.number] = _Place(self._end, len(result.text), result.is_ok)
            self._end += self._file.write(result.text)

    def add_parts(self, paths: Iterable[Path]) -> None:
        """Take in parts, and remove them. **Raises:** ValueError."""
        for path in paths:
            with path.open("rb") as part:
                for line in part:
                    self.add(read_part_line(line))
            path.unlink()

    def write(self, target: Path, *, is_ok: bool, is_stopped: Callable[[], bool]) -> Written:
        """Write the results of one kind; a write that is stopped ends with what it has."""
        digest, size, lines = hashlib.sha256(), 0, 0
        with target.open("wb") as file:
            for _, place in sorted(self._places.items()):
                if is_stopped():
                    break
                if place.is_ok == is_ok:
                    self._file.seek(place.start)
                    line = self._file.read(place.length) + b"\n"
                    digest.update(line)
                    size += file.write(line)
                    lines += 1
        return Written(lines, size, digest.hexdigest())
