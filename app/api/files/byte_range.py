"""The Range header of a download: one range of bytes, or none.

Several ranges are refused: putting them together costs far more than asking costs.

**Source:** RFC 9110 sections 14.1.2, 14.2 and 15.5.17; CVE-2025-62727.
"""

import re
from typing import NamedTuple

from app.errors import NO_RETRY, ApiError

MAX_CHARACTERS = 64
ONE_RANGE = re.compile(r"bytes=(?:([0-9]+)-([0-9]*)|-([0-9]+))", re.IGNORECASE)


class ByteRange(NamedTuple):
    """`length` bytes, one or more, from `start` on."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        """Return the header that says which bytes of `size` these are."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


def requested(header: str | None, size: int) -> ByteRange | None:
    """Return what of `size` bytes is asked for; None for all of it.

    A unit other than bytes is ignored. **Raises:** ApiError 416.
    """
    if header is None:
        return None
    if len(header) > MAX_CHARACTERS:
        raise _not_satisfiable(size)
    if header.partition("=")[0].lower() != "bytes":
        return None
    match = ONE_RANGE.fullmatch(header)
    if match is None:
        raise _not_satisfiable(size)
    first, last, suffix = match.groups()
    start = int(first) if first else max(0, size - int(suffix))
    end = min(int(last) + 1, size) if last else size
    if start >= end:
        raise _not_satisfiable(size)
    return ByteRange(start, end - start)


def _not_satisfiable(size: int) -> ApiError:
    message = f"`Range` must ask for one range of bytes within the file's {size}, `bytes=0-99`"
    headers = {"content-range": f"bytes */{size}", **NO_RETRY}
    return ApiError(416, message, code="range_not_satisfiable", headers=headers)
