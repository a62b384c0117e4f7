"""An object store in one S3 bucket (AWS, SeaweedFS, MinIO, Ceph, …) through boto3.

All blocking calls run in threads of this store, as many as `max_concurrency`; files move in parts
(uploads through s3transfer's TransferManager), within a time that grows with their size.
Credentials, and the checksum switches that some older stores need, come from boto3's own chain and
are never seen here.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
from botocore.exceptions import ClientError

from adapters_registry.errors import StoreUnavailable
from adapters_registry.s3_download import PART_BYTES, Download, Found
from adapters_registry.s3_errors import error_code, store_errors
from adapters_registry.s3_http import DEFAULT_PATIENCE, PacedSession, Patience
from adapters_registry.s3_upload import Upload, UploadRequests, abort
from adapters_registry.store import ObjectWriter, check_key, check_prefix, check_range, is_key
from adapters_registry.threads import finish
from adapters_registry.types import ObjectInfo

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef
    from s3transfer.futures import TransferFuture

T = TypeVar("T")

_BUSY = (409, 429)


class S3Store:
    """An ObjectStore below `prefix` of one bucket. Creating it opens no connection."""

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint_url: str | None = None,
        region: str | None = None,
        max_concurrency: int = 16,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        self._bucket = bucket
        self._prefix = check_prefix(prefix.rstrip("/") + "/") if prefix else ""
        self._client = _client(endpoint_url, region, max_concurrency, patience)
        config = _transfer_config(max_concurrency)
        self._transfers = create_transfer_manager(self._client, config)
        self._patience = patience
        self._stops: set[Callable[[], object]] = set()
        self._part_threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="s3-part")
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="s3-store")

    async def put(self, key: str, source: Path) -> None:
        check_key(key)
        size = (await asyncio.to_thread(source.stat)).st_size
        transfer = _Upload()
        await self._in_time(size, partial(self._put, key, source, transfer), transfer.stop)

    async def get(self, key: str, destination: Path) -> None:
        check_key(key)
        found = await self._run(partial(self._find, key))
        download = Download(self._client, found, self._part_threads, self._patience.attempts)
        work = partial(self._get, key, destination, download)
        await self._in_time(found.size, work, download.stop)

    @asynccontextmanager
    async def writer(self, key: str) -> AsyncIterator[ObjectWriter]:
        name = self._prefix + check_key(key)
        requests = UploadRequests(self._client, self._bucket, name, self._patience)
        upload = Upload(requests, self._part_threads)
        self._stops.add(requests.stop)
        try:
            yield upload
        finally:
            self._stops.remove(requests.stop)
            if not upload.is_committed:
                await finish(asyncio.ensure_future(upload.close()), requests.stop)

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None, chunk_bytes: int = 1 << 20
    ) -> AsyncIterator[bytes]:
        check_key(key)
        check_range(start, length)
        opened = await self._run(partial(self._open, key, start, length))
        if opened is None:
            return
        body, missing = opened
        try:
            while chunk := await self._run(partial(_read, key, body, chunk_bytes)):
                missing -= len(chunk)
                yield chunk
            if missing:
                raise StoreUnavailable("the object store sent a short body")
        finally:
            await self._run(body.close)

    async def delete(self, key: str) -> None:
        await self._run(partial(self._delete, check_key(key)))

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        for info in await self._run(partial(self._list, check_prefix(prefix))):
            yield info

    async def tidy(self, older_than_seconds: float) -> None:
        oldest = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        await self._run(partial(self._tidy, oldest))

    async def check(self) -> None:
        # Not waited for when cancelled, since it writes nothing and its caller is in a hurry.
        await asyncio.get_running_loop().run_in_executor(self._threads, self._check)

    async def close(self) -> None:
        for stop in self._stops:
            stop()
        await asyncio.to_thread(self._transfers.shutdown, cancel=True)
        self._threads.shutdown(wait=False)
        self._part_threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._client.close)

    async def _in_time(
        self, size: int, work: Callable[[], None], stop: Callable[[], object]
    ) -> None:
        """Run a transfer of `size` bytes, and stop it where it takes too long."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._patience.seconds(size), stop)
        self._stops.add(stop)
        try:
            await self._run(work, stop)
        finally:
            self._stops.remove(stop)
            timer.cancel()

    async def _run(
        self, work: Callable[[], T], interrupt: Callable[[], object] = lambda: None
    ) -> T:
        loop = asyncio.get_running_loop()
        return await finish(loop.run_in_executor(self._threads, work), interrupt)

    def _put(self, key: str, source: Path, transfer: "_Upload") -> None:
        source.open("rb").close()  # a file that cannot be read is the caller's error
        with store_errors():
            name = self._prefix + key
            transfer.run(partial(self._transfers.upload, str(source), self._bucket, name))

    def _find(self, key: str) -> Found:
        name = self._prefix + key
        with store_errors(key):
            head = self._client.head_object(Bucket=self._bucket, Key=name)
            return Found(self._bucket, name, head["ContentLength"], head["ETag"])

    def _get(self, key: str, destination: Path, download: Download) -> None:
        temporary = destination.with_name(f"{destination.name}.{uuid4().hex}.part")
        with store_errors(key):
            try:
                download.run(temporary)
                temporary.replace(destination)
            finally:
                temporary.unlink(missing_ok=True)

    def _open(self, key: str, start: int, length: int | None) -> "tuple[StreamingBody, int] | None":
        """Ask for a range of the object; None where it has nothing of it."""
        if length == 0:
            self._find(key)  # a range cannot be empty
            return None
        name = self._prefix + key
        with store_errors(key):
            if start == 0 and length is None:  # a whole object comes with its checksum
                answer = self._client.get_object(Bucket=self._bucket, Key=name)
                return answer["Body"], answer["ContentLength"]
            wanted = f"bytes={start}-" + ("" if length is None else str(start + length - 1))
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=name, Range=wanted)
            except ClientError as error:
                if error_code(error) == "InvalidRange":  # it begins beyond the end
                    return None
                raise
            _check_part(answer, start)
            return answer["Body"], answer["ContentLength"]

    def _delete(self, key: str) -> None:
        with store_errors():
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        """Collect, then sort: some stores page folder by folder, which is not key order."""
        pages = self._client.get_paginator("list_objects_v2")
        found = []
        with store_errors():
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                if "IsTruncated" not in page:  # a proxy's page parses too, as an empty listing
                    raise StoreUnavailable("the object store did not send a listing")
                for entry in page.get("Contents", []):
                    key = entry["Key"].removeprefix(self._prefix)
                    found.append(ObjectInfo(key, entry["Size"], entry["ETag"].strip('"')))
        return sorted((info for info in found if is_key(info.key)), key=lambda info: info.key)

    def _tidy(self, oldest: datetime) -> None:
        pages = self._client.get_paginator("list_multipart_uploads")
        with store_errors():
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for upload in page.get("Uploads", []):
                    if upload["Initiated"] < oldest:
                        abort(self._client, self._bucket, upload["Key"], upload["UploadId"])

    def _check(self) -> None:
        with store_errors():
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)


class _Upload:
    """One upload, which another thread may stop at any moment."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._future: TransferFuture | None = None
        self._stopped = False

    def run(self, start: "Callable[[], TransferFuture]") -> None:
        with self._lock:
            if self._stopped:
                raise CancelledError
            future = self._future = start()
        future.result()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._future is not None:
                self._future.cancel()


def _check_part(answer: "GetObjectOutputTypeDef", start: int) -> None:
    """Refuse what is not the range that was asked for. **Raises:** StoreUnavailable."""
    if not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
        answer["Body"].close()
        raise StoreUnavailable("the object store did not keep to a range")


def _read(key: str, body: "StreamingBody", size: int) -> bytes:
    with store_errors(key):
        return body.read(size)


def _client(
    endpoint_url: str | None, region: str | None, max_concurrency: int, patience: Patience
) -> "S3Client":
    config = Config(
        connect_timeout=patience.connect_seconds,
        read_timeout=patience.silence_seconds,
        retries={"mode": "standard", "total_max_attempts": patience.attempts},
        max_pool_connections=2 * max_concurrency,
        # A store that is not AWS is often one host name without a wildcard in DNS.
        s3={"addressing_style": "path" if endpoint_url else "auto"},
    )
    session = boto3.session.Session()
    client = session.client("s3", endpoint_url=endpoint_url, region_name=region, config=config)
    # boto3 has no public way to bound the time of a body; it has one session for each client.
    endpoint = client._endpoint  # type: ignore[attr-defined]
    endpoint.http_session = PacedSession(endpoint.http_session, patience, max_concurrency)
    retry = partial(_seconds_to_retry, patience.attempts)
    client.meta.events.register("needs-retry.s3", retry)  # type: ignore[arg-type]
    return client


def _seconds_to_retry(
    most_attempts: int,
    response: "tuple[AWSResponse, object] | None",
    attempts: int,
    **_: object,
) -> float | None:
    """Ask botocore for one more attempt where a store is busy in a way that it does not know."""
    if response is None or response[0].status_code not in _BUSY or attempts >= most_attempts:
        return None
    return random.uniform(0.0, 2.0 ** (attempts - 1))


def _transfer_config(max_concurrency: int) -> TransferConfig:
    return TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        max_concurrency=max_concurrency,
        preferred_transfer_client="classic",  # the native one has other errors and no cancel
    )
