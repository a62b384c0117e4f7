"""An engine and an object store in memory, for tests of what is built on this library.

Both keep a record of their calls and can be told to fail or to wait. The engine refuses what a real
one would suffer from: too many adapters, an id used twice, a version known twice, missing files.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from adapters_registry.artifacts import ARTIFACT_FILES
from adapters_registry.digest import artifact_digest
from adapters_registry.errors import AdapterLoadFailed, ObjectNotFound
from adapters_registry.store import ObjectWriter
from adapters_registry.types import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterConfig,
    AdapterVersion,
    Artifact,
    Digest,
    LinearShapes,
    LoadedAdapter,
    ObjectInfo,
)


async def until(is_true: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Return once `is_true()`; for what no event tells. **Raises:** TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            if is_true():
                return
            await asyncio.sleep(0)


def make_artifact(
    directory: Path, base_model: str, content: bytes, *, stored_as: str | None = None
) -> Artifact:
    """Write an artifact whose weights are just `content`: good for all but a real engine.

    `stored_as` is where a test is going to publish it.
    """
    directory.mkdir(parents=True)
    (directory / CONFIG_FILE).write_bytes(b'{"r":8}')
    (directory / WEIGHTS_FILE).write_bytes(content)
    version = AdapterVersion(artifact_digest(directory), base_model, stored_as)
    config = AdapterConfig(rank=8, alpha=8.0, target_modules=("q_proj",), use_rslora=False)
    size = sum((directory / file).stat().st_size for file in ARTIFACT_FILES)
    return Artifact(version, directory, config, size)


class RecordingHost:
    """An AdapterHost that only remembers.

    `slots` and `max_running` are as told: it runs nothing, so nothing here heeds them. `loads` and
    `unloads` are in order of their begin; `known` is what the engine holds now, by id. `refused`
    digests fail to load. `load_error` and `unload_error` are raised as they are. Calls wait while
    `open` is not set. `violations` says how the contract was broken.
    """

    def __init__(
        self,
        capacity: int,
        *,
        slots: int | None = None,
        max_running: int = 256,
        shapes: LinearShapes | None = None,
    ) -> None:
        self._capacity = capacity
        self._slots = capacity if slots is None else slots
        self._max_running = max_running
        self._shapes = shapes or {}
        self.loads: list[LoadedAdapter] = []
        self.unloads: list[LoadedAdapter] = []
        self.known: dict[int, LoadedAdapter] = {}
        self.refused: set[Digest] = set()
        self.load_error: Exception | None = None
        self.unload_error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.violations: list[str] = []

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def max_running(self) -> int:
        return self._max_running

    @property
    def max_running_each(self) -> int:
        return self._max_running

    @property
    def ranks(self) -> Collection[int]:
        return (8, 16, 32, 64)

    @property
    def shapes(self) -> LinearShapes:
        return self._shapes

    async def load(self, adapter: LoadedAdapter) -> None:
        if any(adapter.engine_id == earlier.engine_id for earlier in self.loads):
            self.violations.append(f"id {adapter.engine_id} was used before")
        if any(adapter.version == other.version for other in self.known.values()):
            self.violations.append(f"{adapter.version} is known already")
        if len(self.known) >= self._capacity:
            self.violations.append("no place is free")
        self.loads.append(adapter)
        self.known[adapter.engine_id] = adapter
        await self.open.wait()
        self._check_files(adapter)
        if adapter.version.digest in self.refused:
            del self.known[adapter.engine_id]
            raise AdapterLoadFailed(adapter.version.digest)
        if self.load_error is not None:
            raise self.load_error

    async def unload(self, adapter: LoadedAdapter) -> None:
        self.unloads.append(adapter)
        await self.open.wait()
        self._check_files(adapter)
        if self.unload_error is not None:
            raise self.unload_error
        self.known.pop(adapter.engine_id, None)

    def _check_files(self, adapter: LoadedAdapter) -> None:
        for file in ARTIFACT_FILES:
            if not (adapter.path / file).is_file():
                self.violations.append(f"{file} of {adapter.version} is not on disk")


class MemoryStore:
    """An ObjectStore whose `objects` are bytes by key; tests may change them at will.

    `gets` counts calls by key. `error` is raised by every call. `get` waits while `open` is not
    set.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.gets: Counter[str] = Counter()
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def put(self, key: str, source: Path) -> None:
        await self.check()
        self.objects[key] = await asyncio.to_thread(source.read_bytes)

    async def get(self, key: str, destination: Path) -> None:
        self.gets[key] += 1
        await self.open.wait()
        await asyncio.to_thread(destination.write_bytes, await self._find(key))

    @asynccontextmanager
    async def writer(self, key: str) -> AsyncIterator[ObjectWriter]:
        yield _MemoryWriter(self, key)

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None, chunk_bytes: int = 1 << 20
    ) -> AsyncIterator[bytes]:
        content = (await self._find(key))[start:][:length]
        for at in range(0, len(content), chunk_bytes):
            yield content[at : at + chunk_bytes]

    async def delete(self, key: str) -> None:
        await self.check()
        self.objects.pop(key, None)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        await self.check()
        for key in sorted(self.objects):
            if key.startswith(prefix):
                yield ObjectInfo(key, len(self.objects[key]), etag=str(hash(self.objects[key])))

    async def tidy(self, older_than_seconds: float) -> None:
        await self.check()

    async def check(self) -> None:
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def _find(self, key: str) -> bytes:
        await self.check()
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectNotFound(key) from None


class _MemoryWriter:
    """Collects an object's bytes until they are put in place."""

    def __init__(self, store: MemoryStore, key: str) -> None:
        self._store = store
        self._key = key
        self._content = b""

    async def write(self, data: bytes) -> None:
        await self._store.check()
        self._content += data

    async def commit(self) -> None:
        await self._store.check()
        self._store.objects[self._key] = self._content
