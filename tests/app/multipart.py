"""Multipart bodies written by hand, as hostile as a test needs them."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

BOUNDARY = "xYzZyXbOuNdArY"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
FILE = 'form-data; name="file"; filename="a.zip"'


def part(disposition: str | bytes, value: bytes, *more_headers: str) -> bytes:
    lines = [b"--" + BOUNDARY.encode()]
    raw = disposition if isinstance(disposition, bytes) else disposition.encode()
    lines.append(b"Content-Disposition: " + raw)
    lines += [header.encode() for header in more_headers]
    return b"\r\n".join([*lines, b"", value]) + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def field(name: str, value: str) -> bytes:
    return part(f'form-data; name="{name}"', value.encode())


async def streamed(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())
