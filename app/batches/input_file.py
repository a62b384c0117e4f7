"""The lines of a client's file, one at a time, with little memory whatever the file.

Lines end with a line feed and are numbered as an editor numbers them. A byte order mark at the
start and blank lines at the end are not the client's words and are left out; a blank line before
the last is handed out, as its place would otherwise be miscounted by whoever reads of it.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r\n"
PIECE_BYTES = 64 << 10


class WrittenLine(NamedTuple):
    """A line of the file without blanks around it; None where it is longer than is read.

    `start` is where the content begins in the file, in bytes.
    """

    number: int
    start: int
    content: bytes | None


def written_lines(file: BinaryIO, limit: int) -> Iterator[WrittenLine]:
    """Yield the lines, of at most `limit` bytes. Blocks on local disk; seeks the file."""
    end = _end_of_text(file)
    file.seek(0)
    start = len(BOM) if file.read(len(BOM)) == BOM else 0
    file.seek(start)
    number = 0
    while start < end:
        number += 1
        # Two more, for the line ending.
        read = file.readline(min(limit + 2, end - start))
        is_whole = read.endswith(b"\n") or start + len(read) == end
        yield _written(number, start, read, limit, is_whole=is_whole)
        start += len(read)
        if not is_whole:
            start += _skipped(file, end - start)


def _written(number: int, start: int, read: bytes, limit: int, *, is_whole: bool) -> WrittenLine:
    if not is_whole or len(read.rstrip(b"\r\n")) > limit:
        return WrittenLine(number, start, None)
    indent = len(read) - len(read.lstrip(BLANK))
    return WrittenLine(number, start + indent, read.strip(BLANK))


def _skipped(file: BinaryIO, most: int) -> int:
    """Go behind the end of the line; return how far that was."""
    skipped, read = 0, b""
    while skipped < most and not read.endswith(b"\n"):
        read = file.readline(min(PIECE_BYTES, most - skipped))
        skipped += len(read)
    return skipped


def _end_of_text(file: BinaryIO) -> int:
    """Return where the blank end of the file begins."""
    end = file.seek(0, 2)
    while end > 0:
        start = max(0, end - PIECE_BYTES)
        file.seek(start)
        kept = len(file.read(end - start).rstrip(BLANK))
        if kept:
            return start + kept
        end = start
    return 0
