"""A bucket that operators write into, and the sync of one replica over it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from adapters_registry.artifacts import ARTIFACT_FILES
from adapters_registry.store import ObjectStore, ObjectWriter
from adapters_registry.types import ObjectInfo
from app.adapters.bucket_actions import BucketActions
from app.adapters.bucket_sync import BucketSync, Status
from app.adapters.intake import AdapterIntake
from app.adapters.withdrawals import Withdrawals
from app.engine.base import ChatEngine
from app.errors import ApiError
from tests.adapters_registry.adapters import lora_tensors, write_adapter
from tests.app.adapters.world import BASE, World

PREFIX = "in/"
MAX_BYTES = 1 << 20


@dataclass
class Bucket:
    """Writes like an operator's pipeline; `sync` is the world's replica's."""

    world: World
    store: ObjectStore
    withdrawals: Withdrawals
    sync: BucketSync

    async def write(
        self,
        name: str,
        *,
        seed: int = 0,
        rank: int = 8,
        org: str = "acme",
        base_model: str = BASE,
        files: tuple[str, ...] = ARTIFACT_FILES,
        **config: Any,
    ) -> str:
        """Write an adapter's files, one after the other; return their directory's key."""
        source = f"{PREFIX}{org}/{base_model}/{name}"
        tensors = lora_tensors(seed=seed, rank=rank)
        directory = self.world.room / uuid4().hex
        await asyncio.to_thread(write_adapter, directory, tensors, rank=rank, config=config)
        for file in files:
            await self.store.put(f"{source}/{file}", directory / file)
        return source

    async def keep(self) -> None:
        """Write what tells an emptied bucket from one that is not there."""
        await self.put("README")

    async def put(self, key: str, content: bytes = b"?") -> None:
        path = self.world.room / uuid4().hex
        path.write_bytes(content)
        await self.store.put(PREFIX + key, path)

    async def remove(self, source: str, files: tuple[str, ...] = ARTIFACT_FILES) -> None:
        for file in files:
            await self.store.delete(f"{source}/{file}")

    async def settle(self) -> None:
        """Run as many rounds as it takes until a quiet bucket is followed."""
        for _ in range(2):
            await self.sync.run_round()
        await self.withdrawals.ended()

    @property
    def statuses(self) -> dict[Status, int]:
        """How many adapters of the base model the last round found in each state."""
        return dict(self.sync.stats.adapters.get(BASE, {}))

    async def answers(self, name: str) -> str:
        """Return the immutable id that the name's alias stands for. **Raises:** ApiError."""
        return await self.world.resolves(f"ft:{BASE}:{self.world.org_id}/{name}")

    async def verdicts(self) -> dict[str, tuple[str | None, str | None]]:
        """Return code and param of each refusal by name."""
        rows = await self.world.service.refused_of(self.world.org_id)
        return {row.name: (row.code, row.param) for row in rows}


def bucket_of(
    world: World,
    *,
    store: ObjectStore | None = None,
    prefix: str = PREFIX,
    max_bytes: int = MAX_BYTES,
    engines: Mapping[str, ChatEngine] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Bucket:
    """Give a replica a sync; `store` stands in for what the sync and operators see of the store."""
    seen = store or world.store
    intake = AdapterIntake(
        seen, work_dir=Path(world.room / "work"), max_bytes=max_bytes, foreign_bases=lambda _: ()
    )
    withdrawals = Withdrawals(world.publisher)
    actions = BucketActions(
        world.database.sessions,
        seen,
        intake,
        world.publisher,
        withdrawals,
        max_bytes=max_bytes,
    )
    served = {BASE: world.engine} if engines is None else engines
    sync = BucketSync(world.database, seen, actions, served, prefix=prefix, clock=clock)
    return Bucket(world, seen, withdrawals, sync)


class WatchedStore:
    """A store that calls `on_get` before it copies an object, and fails for `broken` keys."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.on_get: Callable[[str], Awaitable[object]] | None = None
        self.broken: dict[str, Exception] = {}
        self.gets: list[str] = []

    async def put(self, key: str, source: Path) -> None:
        await self.store.put(key, source)

    async def get(self, key: str, destination: Path) -> None:
        self.gets.append(key)
        if self.on_get is not None:
            await self.on_get(key)
        if key in self.broken:
            raise self.broken[key]
        await self.store.get(key, destination)

    def writer(self, key: str) -> AbstractAsyncContextManager[ObjectWriter]:
        return self.store.writer(key)

    def read(
        self, key: str, *, start: int = 0, length: int | None = None, chunk_bytes: int = 1 << 20
    ) -> AsyncIterator[bytes]:
        return self.store.read(key, start=start, length=length, chunk_bytes=chunk_bytes)

    async def delete(self, key: str) -> None:
        await self.store.delete(key)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        if prefix in self.broken:
            raise self.broken[prefix]
        async for info in self.store.list(prefix):
            yield info

    async def tidy(self, older_than_seconds: float) -> None:
        await self.store.tidy(older_than_seconds)

    async def check(self) -> None:
        await self.store.check()

    async def close(self) -> None:
        await self.store.close()


async def assert_unknown(bucket: Bucket, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        await bucket.answers(name)
    assert caught.value.status == 404
