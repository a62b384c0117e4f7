"""A registry over an engine and a store in memory, and clients that hold leases."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from adapters_registry.artifacts import publish
from adapters_registry.cache import DiskCache
from adapters_registry.download import Retries
from adapters_registry.registry import AdapterRegistry, HostStats
from adapters_registry.residency import Residents
from adapters_registry.testing import MemoryStore, RecordingHost, make_artifact, until
from adapters_registry.types import AdapterVersion, Lease

BASE = "base"
VERSIONS = 5
SIZE = 107
"""Bytes of each version on disk."""


class EngineDied(Exception):
    """Stands for an engine's own error, which the library does not know."""


class World:
    """A registry, and what a test holds of it; `versions` are stored, each under its number."""

    def __init__(self, root: Path, store: MemoryStore, host: RecordingHost) -> None:
        self.root = root
        self.store = store
        self.host = host
        self.versions: list[AdapterVersion] = []
        self.loads: list[tuple[object, ...]] = []
        once = Retries(attempts=1, pause_seconds=0)
        self.cache = DiskCache(root, store, max_bytes=1 << 20, retries=once)
        self.registry = self.new_registry()

    def new_registry(self, *, wait_seconds: float = 60) -> AdapterRegistry:
        return AdapterRegistry(
            self.cache,
            {BASE: self.host},
            wait_seconds=wait_seconds,
            on_load=lambda *load: self.loads.append(load),
        )

    def stats(self) -> HostStats:
        return self.registry.stats().hosts[BASE]

    def residents(self) -> Residents:
        return self.stats().residents

    def is_quiet(self) -> bool:
        """Tell whether pins are all that is held, and nobody waits."""
        stats = self.stats()
        residents = stats.residents
        return (residents.leased, residents.waiting, stats.turns) == (stats.pinned, 0, (0, 0, 0))

    def known(self) -> set[AdapterVersion]:
        return {adapter.version for adapter in self.host.known.values()}

    def is_on_disk(self, version: AdapterVersion) -> bool:
        return (self.root / version.digest).exists()

    def is_gone(self, version: AdapterVersion) -> bool:
        return version not in self.known() and not self.is_on_disk(version)

    async def touch(self, version: AdapterVersion) -> Lease:
        async with self.registry.lease(version) as lease:
            return lease

    def hold(self, version: AdapterVersion, registry: AdapterRegistry | None = None) -> "Holder":
        return Holder(registry or self.registry, version)

    async def hold_all(self, *versions: AdapterVersion) -> "list[Holder]":
        holders = [self.hold(version) for version in versions]
        for holder in holders:
            await holder.held()
        return holders

    async def wait_for_turn(self, version: AdapterVersion) -> "Holder":
        """Return a client that waits for its turn; its files are on disk."""
        waiting = self.stats().turns.waiting
        holder = self.hold(version)
        await until(lambda: self.stats().turns.waiting > waiting)
        return holder


class Holder:
    """A client: a task that takes a lease and keeps it until it is told to stop."""

    def __init__(self, registry: AdapterRegistry, version: AdapterVersion) -> None:
        self.version = version
        self.lease: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self._run(registry))

    async def _run(self, registry: AdapterRegistry) -> None:
        try:
            async with registry.lease(self.version) as lease:
                self.lease.set_result(lease)
                await self.stop.wait()
        finally:
            self.lease.cancel()

    async def held(self) -> Lease:
        await asyncio.wait([self.lease, self.task], return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            self.task.result()
        return self.lease.result()

    async def release(self) -> None:
        self.stop.set()
        await self.task

    async def cancel(self) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task


async def release(*holders: Holder) -> None:
    for holder in holders:
        await holder.release()


@contextmanager
def closed(*gates: asyncio.Event) -> Iterator[None]:
    """Have calls wait in a block; they go on once the loop runs after it."""
    for gate in gates:
        gate.clear()
    try:
        yield
    finally:
        for gate in gates:
            gate.set()


@asynccontextmanager
async def open_world(tmp_path: Path, host: RecordingHost) -> AsyncIterator[World]:
    """Open a world, and close it: quiet, with nothing that an engine would suffer from."""
    world = World(tmp_path / "cache", MemoryStore(), host)
    for number in range(VERSIONS):
        directory, stored_as = tmp_path / f"upload{number}", str(number)
        artifact = make_artifact(directory, BASE, bytes([number]) * 100, stored_as=stored_as)
        await publish(world.store, artifact, stored_as)
        world.versions.append(artifact.version)
    async with world.cache:
        yield world
        assert world.is_quiet()
        await world.registry.close()
    assert host.violations == []
