"""The results of a chunk that nobody else knows yet, in files on local disk.

What the lines of a part have used is kept beside it, to be added up where the part is written down.
"""

from pathlib import Path
from typing import IO
from uuid import uuid4

from app.batches.results import Result, part_line
from app.usage.tally import Tally
from app.usage.types import Sums


class LocalPart:
    """Some results under a name that nobody gives twice. Blocks for as long as a write does."""

    def __init__(self, directory: Path) -> None:
        self.name = uuid4().hex
        self.path = directory / self.name
        self.completed = 0
        self.failed = 0
        self.used = Tally()
        self._file: IO[bytes] = self.path.open("wb")

    def add(self, result: Result, used: Sums) -> None:
        self._file.write(part_line(result))
        self.used.add_all(used)
        self.completed += result.is_ok
        self.failed += not result.is_ok

    def close(self) -> None:
        self._file.close()


class LocalParts:
    """Takes results in, and hands them out until they are known elsewhere.

    Each method may raise OSError; nothing of the parts is to be trusted then.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._current: LocalPart | None = None
        self._closed: list[LocalPart] = []

    def add(self, result: Result, used: Sums) -> None:
        """Take in a result, and what its line has used."""
        if self._current is None:
            self._current = LocalPart(self._directory)
        self._current.add(result, used)

    def closed(self) -> list[LocalPart]:
        """Return all parts there are, complete; what is added later is in a further one."""
        if self._current is not None:
            current, self._current = self._current, None
            self._closed.append(current)
            current.close()
        return list(self._closed)

    def forget(self, parts: list[LocalPart]) -> None:
        """Remove parts that are stored and written down."""
        for part in parts:
            self._closed.remove(part)
            part.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the open file."""
        if self._current is not None:
            self._current.close()
