"""From a client's file on local disk to the ordered input and its chunks, or to what is wrong.

All of it blocks, for seconds where the file is large, and is run in a thread. Memory holds the
longest line, and some hundred bytes of every other.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from app.batches.input_file import WrittenLine, written_lines
from app.batches.lines import LineRefused, parse_line, stored_line
from app.batches.local_work import PAUSE_SECONDS, WORK_BYTES
from app.batches.plan import Entry, StoredEntry, cut, entry_of
from app.batches.types import BatchError, ChunkSpec, Line

MAX_ERRORS = 100
"""Most errors that a client is told; what comes after them is not read."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a file may hold: lines for `endpoint`, so many, of so many bytes."""

    endpoint: str
    max_lines: int
    line_bytes: int
    chunk_lines: int
    served: Collection[str]


class InputRefused(Exception):
    """The file cannot be run; at least one error."""

    def __init__(self, errors: Sequence[BatchError]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors


class Stopped(Exception):
    """Nobody waits for the result any more."""


def order(
    source: Path, target: Path, rules: Rules, is_stopped: Callable[[], bool]
) -> Sequence[ChunkSpec]:
    """Write the ordered input to `target` and return its chunks, which tile it.

    **Raises:** InputRefused, Stopped, OSError.
    """
    with source.open("rb") as file:
        entries = _Reader(rules).read(_polite(written_lines(file, rules.line_bytes), is_stopped))
        entries.sort()
        with target.open("xb") as ordered:
            stored = _copied(entries, file, ordered, is_stopped)
            return cut(stored, rules.served, chunk_lines=rules.chunk_lines)


def _polite(lines: Iterator[WrittenLine], is_stopped: Callable[[], bool]) -> Iterator[WrittenLine]:
    paused_at = 0
    for line in lines:
        if is_stopped():
            raise Stopped
        yield line
        if line.start - paused_at >= WORK_BYTES:
            paused_at = line.start
            time.sleep(PAUSE_SECONDS)


class _Reader:
    """Checks line after line; knows which ids were used, by a digest of each."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._used: dict[bytes, int] = {}
        self._names: dict[str, str] = {}
        self._errors: list[BatchError] = []

    def read(self, lines: Iterator[WrittenLine]) -> list[Entry]:
        entries: list[Entry] = []
        for line in lines:
            if line.number > self._rules.max_lines:
                raise InputRefused([_too_many(self._rules.max_lines)])
            try:
                entries.append(self._entry(line))
            except LineRefused as refused:
                self._errors.append(refused.at(line.number))
                if len(self._errors) == MAX_ERRORS:
                    break
        if not entries and not self._errors:
            raise InputRefused([BatchError("empty_file", "The input file has no requests.")])
        if self._errors:
            raise InputRefused(self._errors)
        return entries

    def _entry(self, written: WrittenLine) -> Entry:
        if written.content is None:
            most = f"A line may have at most {self._rules.line_bytes} bytes."
            raise LineRefused("line_too_long", most)
        line = parse_line(written.number, written.content, self._rules.endpoint)
        self._check_unused(line)
        entry = entry_of(line, start=written.start, length=len(written.content))
        # One text for each model, not one for each line.
        base, adapter = (self._names.setdefault(name, name) for name in entry[:2])
        return entry._replace(base=base, adapter=adapter)

    def _check_unused(self, line: Line) -> None:
        digest = blake2b(line.custom_id.encode(), digest_size=16).digest()
        first = self._used.setdefault(digest, line.number)
        if first != line.number:
            said = f"'custom_id' : value is that of line {first} already"
            raise LineRefused("duplicate_custom_id", said, "custom_id")


def _too_many(most: int) -> BatchError:
    return BatchError("too_many_tasks", f"A batch may have at most {most} lines.")


def _copied(
    entries: Sequence[Entry], source: BinaryIO, target: BinaryIO, is_stopped: Callable[[], bool]
) -> Iterator[StoredEntry]:
    for entry in entries:
        if is_stopped():
            raise Stopped
        source.seek(entry.start)
        stored = stored_line(entry.number, entry.url, source.read(entry.length))
        target.write(stored)
        yield StoredEntry(entry.base, entry.adapter, len(stored))
