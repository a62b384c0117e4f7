"""An S3 store behind a faulty proxy: the faults, where they strike, and a bench to try them on."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import boto3
import pytest

from adapters_registry.artifacts import publish
from adapters_registry.cache import DiskCache
from adapters_registry.download import Retries
from adapters_registry.errors import ObjectCorrupt, ObjectNotFound, StoreError, StoreUnavailable
from adapters_registry.s3 import S3Store
from adapters_registry.s3_download import PART_BYTES
from adapters_registry.s3_http import Patience
from adapters_registry.testing import make_artifact
from adapters_registry.types import CONFIG_FILE, Artifact
from tests.fixtures.fault_proxy import (
    Fault,
    FaultProxy,
    Request,
    broken_off,
    delayed,
    done_then_refused,
    dripping,
    error_in_success,
    flipped,
    refused,
    reset,
    shortened,
    stalled,
)
from tests.fixtures.seaweedfs import SeaweedFS

LONGEST_SECONDS = 12.0
PATIENCE = Patience(
    connect_seconds=1.0,
    silence_seconds=0.4,
    grace_seconds=1.5,
    bytes_per_second=16 << 20,
    attempts=2,
)
LARGE_PATIENCE = replace(PATIENCE, silence_seconds=2.0)
"""For parts that a busy machine takes a while to store."""
RETRIES = Retries(attempts=2, delay_seconds=0.01)
OLD, NEW = b"old content" * 40, b"new content" * 50
LARGE = bytes(range(256)) * (PART_BYTES // 256 + 100)
LISTED = 1005
PREFIX = f"faults-{uuid4().hex}/"

FAULTS: dict[str, Fault] = {
    "delay": delayed(0.2),
    "500": refused(500, "InternalError"),
    "503 SlowDown": refused(503, "SlowDown"),
    "429": refused(429, "TooManyRequests"),
    "409": refused(409, "OperationAborted"),
    "403": refused(403, "AccessDenied"),
    "404": refused(404, "NoSuchKey"),
    "error in a 200": error_in_success("InternalError"),
    "done, then 503": done_then_refused(503, "SlowDown"),
    "broken off": broken_off(),
    "short body": shortened(),
    "flipped bit": flipped(),
    "reset": reset,
    "stall": stalled,
    "drip": dripping(20),
}

REQUESTS: dict[str, Callable[[Request], bool]] = {
    "any": lambda request: True,
    "HEAD": lambda request: request.method == "HEAD",
    "GET": lambda request: request.method == "GET",
    "PUT": lambda request: request.method == "PUT",
    "DELETE": lambda request: request.method == "DELETE",
    "config": lambda request: request.method == "GET" and CONFIG_FILE in request.target,
    "begin": lambda request: request.method == "POST" and request.target.endswith("?uploads"),
    "part": lambda request: request.method == "PUT" and "partNumber=" in request.target,
    "part 2": lambda request: request.method == "PUT" and "partNumber=2" in request.target,
    "complete": lambda request: request.method == "POST" and "uploadId=" in request.target,
    "abort": lambda request: request.method == "DELETE" and "uploadId=" in request.target,
    "page 2": lambda request: "continuation-token=" in request.target,
}

ONCE, ALWAYS = 1, None
FINE = None
DOWN, CORRUPT, MISSING = StoreUnavailable, ObjectCorrupt, ObjectNotFound


@dataclass
class Bench:
    """One store seen twice: through the proxy, and straight for setting up and looking up."""

    proxy: FaultProxy
    store: S3Store
    straight: S3Store
    room: Path
    server: SeaweedFS
    refused: Counter[str] = field(default_factory=Counter)

    def file(self, content: bytes) -> Path:
        path = self.room / uuid4().hex
        path.write_bytes(content)
        return path

    async def artifact(self, content: bytes) -> Artifact:
        name = uuid4().hex
        artifact = make_artifact(self.room / name, "base", content, stored_as=name)
        await publish(self.straight, artifact, name)
        return artifact

    def cache(self, retries: Retries = RETRIES) -> DiskCache:
        return DiskCache(
            self.room / "cache",
            self.store,
            max_bytes=1 << 30,
            retries=retries,
            on_refused=lambda reason: self.refused.update([reason]),
        )

    def unfinished(self, key: str) -> list[str]:
        """Return the uploads to `key` that have begun and not ended."""
        client = boto3.client("s3", endpoint_url=self.server.endpoint_url)
        listed = client.list_multipart_uploads(Bucket=self.server.bucket, Prefix=PREFIX + key)
        return [upload["UploadId"] for upload in listed.get("Uploads", [])]

    def on_disk(self) -> set[str]:
        return {path.name for path in (self.room / "cache").iterdir()} - {"tmp"}


async def contents(store: S3Store, key: str) -> bytes:
    return b"".join([chunk async for chunk in store.read(key)])


async def spoilt(
    work: Awaitable[object], error: type[StoreError] | None, bench: Bench, spoil: Callable[[], None]
) -> None:
    """Do `work` while the proxy is at fault, and see that it ends in `error`, soon."""
    spoil()
    started = time.monotonic()
    if error is None:
        await work
    else:
        with pytest.raises(error):
            await work
    assert time.monotonic() - started < LONGEST_SECONDS
    bench.proxy.heal()
