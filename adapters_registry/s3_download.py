"""One S3 object on its way to a local file: in parts, several at once, each tried a few times.

Owns the open bodies, so that a download that is stopped leaves neither a thread nor a connection
behind; boto3's own transfers leave both to chance. Refused: a body that is shorter or longer than
what was asked for, and an object that changes meanwhile.
"""

import os
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import HTTPClientError, IncompleteReadError, ReadTimeoutError

from adapters_registry.errors import StoreUnavailable

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

PART_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20
_BROKEN_BODY = (HTTPClientError, IncompleteReadError, ReadTimeoutError)


class Found(NamedTuple):
    """An object as it was when it was asked for."""

    bucket: str
    name: str
    size: int
    etag: str


class Download:
    """Writes what was `found` to a file; any thread may stop it at any moment."""

    def __init__(
        self, client: "S3Client", found: Found, threads: ThreadPoolExecutor, attempts: int
    ) -> None:
        self._client = client
        self._found = found
        self._threads = threads
        self._attempts = attempts
        self._stopped = Event()

    def run(self, destination: Path) -> None:
        """Write a new file and return once no thread works on it, whatever happened.

        **Raises:** boto3's errors, OSError, StoreUnavailable; CancelledError once stopped.
        """
        with destination.open("xb") as file:
            parts: list[Future[None]] = []
            try:
                for start, end in self._parts():
                    parts.append(self._begin_part(file.fileno(), start, end))
                for part in parts:
                    part.result()
            finally:
                self._finish(parts)

    def stop(self) -> None:
        """Let the download end at its next byte, or at the end of its patience with silence."""
        self._stopped.set()

    def _finish(self, parts: "list[Future[None]]") -> None:
        # A part that is cancelled before it began may never be said to have ended.
        begun = [part for part in parts if not part.cancel()]
        if not all(part.done() for part in begun):
            self.stop()
        wait(begun)

    def _parts(self) -> Iterator[tuple[int, int]]:
        for start in range(0, self._found.size, PART_BYTES):
            yield start, min(start + PART_BYTES, self._found.size)

    def _begin_part(self, file: int, start: int, end: int) -> "Future[None]":
        try:
            return self._threads.submit(self._write_part, file, start, end)
        except RuntimeError as error:  # the store was closed in the meantime
            raise CancelledError from error

    def _write_part(self, file: int, start: int, end: int) -> None:
        for attempts_left in reversed(range(self._attempts)):
            try:
                with closing(self._open(start, end)) as body:
                    return self._copy(body, file, start, end)
            except _BROKEN_BODY:
                if not attempts_left or self._stopped.is_set():
                    raise

    def _open(self, start: int, end: int) -> "StreamingBody":
        if self._stopped.is_set():
            raise CancelledError
        bucket, name, size, etag = self._found
        if size <= PART_BYTES:  # a whole object comes with its checksum, which boto3 verifies
            return self._client.get_object(Bucket=bucket, Key=name, IfMatch=etag)["Body"]
        part = f"bytes={start}-{end - 1}"
        return self._client.get_object(Bucket=bucket, Key=name, IfMatch=etag, Range=part)["Body"]

    def _copy(self, body: "StreamingBody", file: int, start: int, end: int) -> None:
        at = start
        while chunk := body.read(_CHUNK_BYTES):
            if self._stopped.is_set():
                raise CancelledError
            if at + len(chunk) > end:
                raise StoreUnavailable("the object store sent a long body")
            _write(file, chunk, at)
            at += len(chunk)
        if at < end:
            raise StoreUnavailable("the object store sent a short body")


def _write(file: int, chunk: bytes, at: int) -> None:
    rest = memoryview(chunk)
    while rest:
        written = os.pwrite(file, rest, at)
        rest, at = rest[written:], at + written
