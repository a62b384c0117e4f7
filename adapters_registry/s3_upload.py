"""One object on its way to S3 while its bytes still come.

Bytes are collected into parts, and a few parts are on their way at once: these, and the one that is
being filled, are in memory. What is smaller than a part is put as one. An upload that is given up
leaves no thread behind and, if the store answers, nothing in the bucket.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Literal, TypedDict, TypeVar

from botocore.exceptions import ClientError

from adapters_registry.errors import StoreUnavailable
from adapters_registry.s3_errors import error_code, store_errors
from adapters_registry.s3_http import Patience
from adapters_registry.threads import finish

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 << 20
PARTS_AT_ONCE = 3

T = TypeVar("T")


class Upload:
    """An ObjectWriter; `close` must follow unless it is committed."""

    def __init__(self, requests: "UploadRequests", threads: ThreadPoolExecutor) -> None:
        self._requests = requests
        self._threads = threads
        self._pieces: list[memoryview] = []
        self._room = PART_BYTES
        self._sent = 0
        self._under_way: deque[asyncio.Future[CompletedPartTypeDef]] = deque()
        self._parts: list[CompletedPartTypeDef] = []
        self.is_committed = False

    async def write(self, data: bytes) -> None:
        with self._nothing_after_failure():
            rest = memoryview(data)
            while rest:
                taken, rest = rest[: self._room], rest[self._room :]
                self._pieces.append(taken)
                self._room -= len(taken)
                if not self._room:
                    await self._send_part()

    async def commit(self) -> None:
        with self._nothing_after_failure():
            if self._sent:
                await self._complete()
            else:
                await self._run(lambda: self._requests.put(b"".join(self._pieces)))
        self.is_committed = True

    async def _complete(self) -> None:
        if self._pieces:
            await self._send_part()
        while self._under_way:
            await self._see_part()
        await self._run(lambda: self._requests.complete(self._parts))

    async def close(self) -> None:
        """Take back what was begun; returns once no thread works on it."""
        self._requests.stop()
        if self._under_way:
            await asyncio.wait(self._under_way)
        with suppress(StoreUnavailable):  # the store's tidying will find it
            await self._run(self._requests.abort)

    @contextmanager
    def _nothing_after_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._requests.stop()
            raise

    async def _send_part(self) -> None:
        if not self._sent:
            await self._run(self._requests.begin)
        elif len(self._under_way) == PARTS_AT_ONCE:
            await self._see_part()
        self._sent = number = self._sent + 1
        body = b"".join(self._pieces)
        self._pieces, self._room = [], PART_BYTES
        self._under_way.append(self._begin(lambda: self._requests.send(number, body)))

    async def _see_part(self) -> None:
        """Wait for the oldest part."""
        part = self._under_way[0]
        await asyncio.wait([part])
        self._under_way.popleft()
        self._parts.append(_result(part))

    async def _run(self, work: Callable[[], T]) -> T:
        working = self._begin(work)
        # Not the work itself: closing the store cancels it, which is no cancellation of the caller.
        await finish(asyncio.ensure_future(asyncio.wait([working])), self._requests.stop)
        return _result(working)

    def _begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        try:
            working = asyncio.get_running_loop().run_in_executor(self._threads, work)
        except RuntimeError as error:
            raise _closed() from error
        working.add_done_callback(_see)
        return working


def _see(work: asyncio.Future[T]) -> None:
    """Look at what nobody may wait for any more, else asyncio logs it as lost."""
    if not work.cancelled():
        work.exception()


def _result(work: asyncio.Future[T]) -> T:
    if work.cancelled():
        raise _closed()
    return work.result()


def _closed() -> StoreUnavailable:
    return StoreUnavailable("the object store was closed")


class UploadRequests:
    """The calls of one upload, which block. Once stopped, from any thread, they send no more."""

    def __init__(self, client: "S3Client", bucket: str, name: str, patience: Patience) -> None:
        self._client = client
        self._bucket = bucket
        self._name = name
        self._patience = patience
        self._stopped = Event()
        self._id = ""
        config = client.meta.config
        checksums: str = config.request_checksum_calculation  # type: ignore[attr-defined]
        self._has_checksums = checksums == "when_supported"

    def stop(self) -> None:
        """Let what is being sent end at its next byte, or at the end of its patience."""
        self._stopped.set()

    def put(self, content: bytes) -> None:
        """Store the whole object."""
        with self._unless_stopped():
            self._client.put_object(Bucket=self._bucket, Key=self._name, Body=self._body(content))

    def begin(self) -> None:
        """Begin an upload in parts."""
        with self._unless_stopped():
            begun = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=self._name, **self._checksum()
            )
            self._id = begun["UploadId"]

    def send(self, number: int, content: bytes) -> "CompletedPartTypeDef":
        """Store one part."""
        with self._unless_stopped():
            sent = self._client.upload_part(
                Bucket=self._bucket,
                Key=self._name,
                UploadId=self._id,
                PartNumber=number,
                Body=self._body(content),
                **self._checksum(),
            )
            part: CompletedPartTypeDef = {"PartNumber": number, "ETag": sent["ETag"]}
            if "ChecksumCRC32" in sent:
                part["ChecksumCRC32"] = sent["ChecksumCRC32"]
            return part

    def complete(self, parts: "list[CompletedPartTypeDef]") -> None:
        """Put the object together."""
        with self._unless_stopped():
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._name,
                UploadId=self._id,
                MultipartUpload={"Parts": parts},
            )
            self._id = ""

    def abort(self) -> None:
        """Remove the parts that were stored, unless the object was put together."""
        if self._id:
            with store_errors():
                abort(self._client, self._bucket, self._name, self._id)

    def _checksum(self) -> "_Checksum":
        # As boto3's own transfers do: the store checks a part only by the algorithm begun with.
        return {"ChecksumAlgorithm": "CRC32"} if self._has_checksums else {}

    def _body(self, content: bytes) -> "_Body":
        ends_at = monotonic() + self._patience.seconds(len(content) * PARTS_AT_ONCE)
        return _Body(content, lambda: self._stopped.is_set() or monotonic() > ends_at)

    @contextmanager
    def _unless_stopped(self) -> Iterator[None]:
        try:
            if self._stopped.is_set():
                raise _Stopped
            with store_errors():
                yield
        except _Stopped as error:
            raise StoreUnavailable("the upload was too slow, or given up") from error


def abort(client: "S3Client", bucket: str, name: str, upload_id: str) -> None:
    """Remove what was stored of an upload in parts; one that has ended is no error."""
    try:
        client.abort_multipart_upload(Bucket=bucket, Key=name, UploadId=upload_id)
    except ClientError as error:
        if error_code(error) not in {"NoSuchUpload", "404"}:
            raise


class _Checksum(TypedDict, total=False):
    ChecksumAlgorithm: Literal["CRC32"]


class _Stopped(BaseException):
    """Ends a request within its body; boto3 would try again after any Exception."""


class _Body(BytesIO):
    """Bytes that are given out until it is time to stop."""

    def __init__(self, content: bytes, is_over: Callable[[], bool]) -> None:
        super().__init__(content)
        self._is_over = is_over

    def read(self, size: int | None = -1, /) -> bytes:
        if self._is_over():
            raise _Stopped
        return super().read(size)
