"""Adapters that seldom ask, beside as many busy ones as the engine has slots for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import pytest

from adapters_registry.artifacts import publish
from adapters_registry.cache import DiskCache
from adapters_registry.digest import artifact_digest
from adapters_registry.directory import DirectoryStore
from adapters_registry.registry import AdapterRegistry
from adapters_registry.types import AdapterConfig, AdapterVersion, Artifact, LoadedAdapter
from tests.fixtures.engines import GREEDY, MAX_CPU_LORAS, MAX_LORAS, MODEL_ID, TinyEngine
from tests.fixtures.tiny_llama import TARGETS, write_adapter

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

HOT, COLD = range(MAX_LORAS), range(MAX_LORAS, MAX_CPU_LORAS)
CLIENTS = 14
"""Of each hot adapter: too few to fill the engine's seats, so that slots alone are scarce."""
HOT_TOKENS, COLD_TOKENS = 32, 4
ROUNDS = 5
ENOUGH = 300
"""Requests of the hot adapters that end while a starving one gets no token."""
FIRST_SEED = 700

Admit = Callable[[int], AbstractAsyncContextManager[LoadedAdapter]]


@dataclass
class Rush:
    """Clients of the hot adapters, each of which sends its next request when the last has ended."""

    tiny: TinyEngine
    admit: Admit
    seconds: list[float] = field(default_factory=list)
    """How long each request ran, from its admission."""

    def __post_init__(self) -> None:
        self._is_over = False
        self._progress = asyncio.Condition()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            for flow in HOT:
                for number in range(CLIENTS):
                    tasks.create_task(self._client(flow, number))
            await self.go_on(len(HOT) * CLIENTS)
            yield
            self._is_over = True

    async def go_on(self, requests: int) -> None:
        """Return when the hot adapters have had so many more requests answered."""
        until = len(self.seconds) + requests
        async with self._progress:
            await self._progress.wait_for(lambda: len(self.seconds) >= until)

    async def cold(self, flow: int) -> float:
        """Send one request, and return the seconds to its first token."""
        begun = perf_counter()
        async with self.admit(flow) as adapter:
            return await self._answer(adapter, COLD_TOKENS) - begun

    async def _client(self, flow: int, number: int) -> None:
        while not self._is_over:
            async with self.admit(flow) as adapter:
                begun = perf_counter()
                await self._answer(adapter, HOT_TOKENS + number)  # so that they seldom end together
            async with self._progress:
                self.seconds.append(perf_counter() - begun)
                self._progress.notify_all()

    async def _answer(self, adapter: LoadedAdapter, tokens: int) -> float:
        """Return when the first token came."""
        job = self.tiny.job(sampling=replace(GREEDY, max_tokens=tokens))
        times = [perf_counter() async for _ in self.tiny.generate(job, adapter)]
        return times[0]


async def test_every_cold_request_is_served_within_a_few_hot_ones(
    tiny_engine: TinyEngine, tmp_path: Path
):
    async with through_registry(tiny_engine, tmp_path) as admit:
        rush = Rush(tiny_engine, admit)
        async with rush.running():
            waits = []
            for _ in range(ROUNDS):
                waits += await asyncio.gather(*(rush.cold(flow) for flow in COLD))
                await rush.go_on(CLIENTS)
    assert max(waits) < 4 * max(rush.seconds)


async def test_without_turns_the_engine_lets_cold_adapters_starve(tiny_engine: TinyEngine):
    async with straight_to_engine(tiny_engine) as admit:
        rush = Rush(tiny_engine, admit)
        async with rush.running():
            cold = [asyncio.create_task(rush.cold(flow)) for flow in COLD]
            await rush.go_on(ENOUGH)
            served = [task.done() for task in cold]
        await asyncio.gather(*cold)
    assert served == [False] * len(COLD)


@asynccontextmanager
async def through_registry(tiny: TinyEngine, room: Path) -> AsyncIterator[Admit]:
    """Admit requests by leases of adapters that lie in a store."""
    assert tiny.engine.adapters is not None
    store = DirectoryStore(room / "store")
    versions = [await _publish(store, room / str(flow), flow) for flow in (*HOT, *COLD)]
    async with DiskCache(room / "cache", store, max_bytes=1 << 30) as cache:
        registry = AdapterRegistry(cache, {MODEL_ID: tiny.engine.adapters}, wait_seconds=60.0)

        @asynccontextmanager
        async def admit(flow: int) -> AsyncIterator[LoadedAdapter]:
            async with registry.lease(versions[flow]) as lease:
                yield lease.adapter

        yield admit
        for version in versions:
            await registry.discard(version)
        await registry.close()


async def _publish(store: DirectoryStore, directory: Path, flow: int) -> AdapterVersion:
    write_adapter(directory, FIRST_SEED + flow)
    version = AdapterVersion(artifact_digest(directory), MODEL_ID, stored_as=f"flow-{flow}")
    config = AdapterConfig(8, 8.0, tuple(TARGETS), False)
    await publish(store, Artifact(version, directory, config, 1), f"flow-{flow}")
    return version


@asynccontextmanager
async def straight_to_engine(tiny: TinyEngine) -> AsyncIterator[Admit]:
    """Admit every request at once."""
    assert tiny.engine.adapters is not None
    loaded = [tiny.adapter(FIRST_SEED + flow) for flow in (*HOT, *COLD)]
    for adapter in loaded:
        await tiny.engine.adapters.load(adapter)

    @asynccontextmanager
    async def admit(flow: int) -> AsyncIterator[LoadedAdapter]:
        yield loaded[flow]

    yield admit
    for adapter in loaded:
        await tiny.engine.adapters.unload(adapter)
