"""A directory and a real S3 server as object stores under test, and what tests do with them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import boto3

from adapters_registry.directory import DirectoryStore
from adapters_registry.s3 import S3Store
from adapters_registry.store import ObjectStore
from adapters_registry.types import ObjectInfo
from tests.fixtures.seaweedfs import SeaweedFS


@dataclass(frozen=True)
class Case:
    """A store under test. `unfinished` counts what its puts have begun and not yet ended.

    `abandon` leaves something half-written, as a killed process does.
    """

    store: ObjectStore
    unfinished: Callable[[], int]
    abandon: Callable[[], object]


def directory_case(root: Path) -> Case:
    store = DirectoryStore(root / "store")
    incoming = root / "store" / "~incoming"

    def abandon() -> None:
        incoming.mkdir(exist_ok=True)
        (incoming / uuid4().hex).write_bytes(b"half")

    return Case(store, lambda: len(list(incoming.glob("*"))), abandon)


def s3_case(server: SeaweedFS) -> Case:
    prefix = f"test-{uuid4().hex}/"
    client = boto3.client("s3", endpoint_url=server.endpoint_url)
    uploads = partial(client.list_multipart_uploads, Bucket=server.bucket, Prefix=prefix)
    store = S3Store(server.bucket, prefix=prefix, endpoint_url=server.endpoint_url)
    abandon = partial(client.create_multipart_upload, Bucket=server.bucket, Key=f"{prefix}a")
    return Case(store, lambda: len(uploads().get("Uploads", [])), abandon)


def file_of(directory: Path, content: bytes, name: str = "source") -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


async def contents(store: ObjectStore, key: str) -> bytes:
    return b"".join([chunk async for chunk in store.read(key)])


async def written(store: ObjectStore, key: str, content: bytes, piece: int = 1 << 20) -> None:
    async with store.writer(key) as writer:
        for start in range(0, len(content), piece):
            await writer.write(content[start : start + piece])
        await writer.commit()


async def listed(store: ObjectStore, prefix: str) -> list[ObjectInfo]:
    return [info async for info in store.list(prefix)]


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if await asyncio.to_thread(condition):
            return
        await asyncio.sleep(0.002)
    raise AssertionError("the condition never came true")
