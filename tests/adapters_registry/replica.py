"""One server process: what the service does with the library, on a database that is a dict.

The order of steps is that of the service, which has its own tests; each step can be the last.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from adapters_registry.artifacts import ARTIFACTS, publish, unpublish
from adapters_registry.cache import DiskCache
from adapters_registry.download import Retries
from adapters_registry.registry import AdapterRegistry
from adapters_registry.testing import MemoryStore, RecordingHost
from adapters_registry.types import AdapterVersion, Artifact, Digest, Lease, LoadedAdapter

BASE = "base"
CAPACITY, SLOTS, MAX_RUNNING = 3, 2, 5
WAIT_SECONDS = 30.0
TICKS = 4
TWICE_AT_ONCE = Retries(attempts=2, delay_seconds=0, pause_seconds=0)


class EngineFailed(Exception):
    """Stands for an engine's own error, which the library does not know."""


class Row(NamedTuple):
    name: str
    version: AdapterVersion


class Database:
    """The rows by id, oldest first, and the ids that are being registered."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.registering: set[str] = set()
        self._ids = itertools.count()

    def new_id(self) -> str:
        return f"ft_{next(self._ids):04}"

    def has(self, digest: Digest) -> bool:
        return any(row.version.digest == digest for row in self.rows.values())

    def find(self, name: str, digest: Digest) -> str | None:
        return next(
            (id for id in self.ids_of(name) if self.rows[id].version.digest == digest), None
        )

    def ids_of(self, name: str) -> list[str]:
        return [id for id, row in self.rows.items() if row.name == name]


class SlowStore(MemoryStore):
    """Every call takes a while, so that a crash can come before and after each."""

    async def check(self) -> None:
        await self.open.wait()
        await a_while()
        await super().check()


class SlowHost(RecordingHost):
    """Loading and unloading take a while."""

    async def load(self, adapter: LoadedAdapter) -> None:
        await a_while()
        await super().load(adapter)
        await a_while()

    async def unload(self, adapter: LoadedAdapter) -> None:
        await a_while()
        await super().unload(adapter)
        await a_while()


async def a_while() -> None:
    for _ in range(TICKS):
        await asyncio.sleep(0)


class Replica:
    """A process with an engine of its own, and a directory that may be a dead process's."""

    def __init__(self, root: Path, store: MemoryStore, database: Database, max_bytes: int) -> None:
        self.root = root
        self.store = store
        self.database = database
        self.host = SlowHost(CAPACITY, slots=SLOTS, max_running=MAX_RUNNING)
        self.cache = DiskCache(root, store, max_bytes=max_bytes, retries=TWICE_AT_ONCE)
        self.registry = AdapterRegistry(self.cache, {BASE: self.host}, wait_seconds=WAIT_SECONDS)
        self.asked: Counter[AdapterVersion] = Counter()
        """How often each version was asked for, ever."""
        self._claimed: Counter[AdapterVersion] = Counter()
        """How many pin or try a version now, if not by a lease then soon."""

    async def close(self) -> None:
        await self.registry.close()
        await self.cache.close()

    async def register(self, name: str, artifact: Artifact) -> None:
        """Try the artifact, store it, name it; what has the name already is stored again."""
        digest, id = artifact.version.digest, self.database.new_id()
        if (other := self.database.find(name, digest)) is not None:
            return await publish(self.store, artifact, other)
        self.database.registering.add(id)
        try:
            await self._try(artifact)
            await publish(self.store, artifact, id)
            if self.database.find(name, digest) is None:
                self.database.rows[id] = Row(name, AdapterVersion(digest, BASE, id))
        finally:
            self.database.registering.discard(id)
        if id not in self.database.rows:
            await unpublish(self.store, id)

    async def _try(self, artifact: Artifact) -> None:
        with self._claim(artifact.version):
            pin = await self.cache.add(artifact)
            try:
                async with self.registry.lease(artifact.version):
                    await asyncio.sleep(0)
            finally:
                pin.release()

    async def pin(self, id: str) -> None:
        if (row := self.database.rows.get(id)) is not None:
            with self._claim(row.version):
                await self.registry.pin(row.version)

    @contextmanager
    def _claim(self, version: AdapterVersion) -> Iterator[None]:
        self.asked[version] += 1
        self._claimed[version] += 1
        try:
            yield
        finally:
            self._claimed[version] -= 1

    async def delete(self, id: str) -> None:
        """Forget the row; then remove it from engine and disk, once unused, and from the store."""
        if (row := self.database.rows.pop(id, None)) is None:
            return
        await asyncio.sleep(0)
        with suppress(EngineFailed):
            if not self.database.has(row.version.digest):
                await self._discard(row.version)
        await asyncio.sleep(0)
        await unpublish(self.store, id)

    async def _discard(self, version: AdapterVersion) -> None:
        asked = self.asked[version]
        await self.registry.discard(version)
        if self.asked[version] == asked and not self._claimed[version]:
            assert version not in self.registry.residents()
            assert all(version != adapter.version for adapter in self.host.known.values())
            assert not (self.root / version.digest).exists()

    async def retire(self, name: str) -> None:
        """Delete all versions of a name."""
        for id in self.database.ids_of(name):
            await self.delete(id)

    async def sweep(self) -> None:
        """Remove from the store, the engine and the disk what no row names."""
        listed = {info.key.split("/")[1] async for info in self.store.list(ARTIFACTS)}
        for id in sorted(listed - self.database.registering - self.database.rows.keys()):
            await unpublish(self.store, id)
        residents = {version.digest: version for version in self.registry.residents()}
        for digest in await self.cache.unused(0):
            if self.database.has(digest):
                continue
            if (version := residents.get(digest)) is None:
                await self.cache.remove(digest)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await self.registry.discard(version)

    def entries(self) -> Iterator[Path]:
        """Return the artifacts on disk, without what is still being written."""
        return (path for path in self.root.iterdir() if path.name != "tmp")

    def disk_bytes(self) -> int:
        return sum(file.stat().st_size for entry in self.entries() for file in entry.iterdir())


class Client:
    """Asks for a version by id, keeps its lease until told to stop, and checks what it gets."""

    def __init__(self, replica: Replica, id: str) -> None:
        self.lease: Lease | None = None
        self.stop = asyncio.Event()
        self.is_served = False
        self._replica = replica
        self.id = id

    async def run(self) -> None:
        if (row := self._replica.database.rows.get(self.id)) is None:
            return
        self._replica.asked[row.version] += 1
        async with self._replica.registry.lease(row.version) as lease:
            assert lease.adapter.version == row.version
            self.is_served = True
            self.lease = lease
            try:
                await self.stop.wait()
            finally:
                self.lease = None
