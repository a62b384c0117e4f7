"""Random interleavings of everything that can happen to a registry, on a real event loop.

Blocking work runs in line, so that a sequence of steps always interleaves in the same way.
"""

import asyncio
import os
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from adapters_registry.artifacts import artifact_key, publish
from adapters_registry.cache import DiskCache
from adapters_registry.digest import artifact_digest
from adapters_registry.errors import RegistryError, StoreUnavailable
from adapters_registry.registry import AdapterRegistry
from adapters_registry.testing import MemoryStore, RecordingHost, make_artifact
from adapters_registry.types import WEIGHTS_FILE

BASE = "base"
CAPACITY = 2
VERSIONS = 5
SIZE = 107
CACHED = 3  # fewer than VERSIONS, more than CAPACITY: the disk evicts too

numbers = st.integers(0, VERSIONS - 1)
ticks = st.integers(0, 12)


class EngineFailed(Exception):
    """Stands for an engine's own error, which the library does not know."""


class InlineExecutor(ThreadPoolExecutor):
    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Client:
    """Takes a lease, keeps it until told to stop, and remembers how it ended."""

    def __init__(self, registry, version):
        self.stop = asyncio.Event()
        self.lease = None
        self._registry = registry
        self._version = version

    async def run(self):
        async with self._registry.lease(self._version) as lease:
            self.lease = lease
            try:
                await self.stop.wait()
            finally:
                self.lease = None


class RegistryMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.descriptors = len(os.listdir("/proc/self/fd"))
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(InlineExecutor())
        self.directory = tempfile.TemporaryDirectory()
        self.root = Path(self.directory.name) / "cache"
        self.clients = {}
        self.background = []
        self.loop.run_until_complete(self.start())

    async def start(self):
        self.store = MemoryStore()
        self.host = RecordingHost(CAPACITY)
        self.versions = []
        for number in range(VERSIONS):
            path = Path(self.directory.name) / str(number)
            artifact = make_artifact(path, BASE, bytes([number]) * 100)
            await publish(self.store, artifact)
            self.versions.append(artifact.version)
        self.good = dict(self.store.objects)
        self.cache = DiskCache(self.root, self.store, max_bytes=CACHED * SIZE)
        await self.cache.open()
        self.registry = AdapterRegistry(self.cache, {BASE: self.host}, wait_seconds=3600)

    async def tick(self, count):
        for _ in range(count):
            await asyncio.sleep(0)

    def go(self, count):
        self.loop.run_until_complete(self.tick(count))

    @rule(number=numbers, clients=st.integers(1, 4), count=ticks)
    def lease(self, number, clients, count):
        for _ in range(clients):
            client = Client(self.registry, self.versions[number])
            self.clients[self.loop.create_task(client.run())] = client
        self.go(count)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), count=ticks)
    def release(self, data, count):
        clients = list(self.clients.values())
        clients[data.draw(st.integers(0, len(clients) - 1))].stop.set()
        self.go(count)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), count=ticks)
    def cancel(self, data, count):
        tasks = list(self.clients)
        tasks[data.draw(st.integers(0, len(tasks) - 1))].cancel()
        self.go(count)

    @rule(number=numbers, is_refused=st.booleans())
    def let_the_engine_refuse(self, number, is_refused):
        change = self.host.refused.add if is_refused else self.host.refused.discard
        change(self.versions[number].digest)

    @rule(fails=st.booleans())
    def let_loads_break_off(self, fails):
        self.host.load_error = EngineFailed() if fails else None

    @rule(fails=st.booleans())
    def let_unloads_fail(self, fails):
        self.host.unload_error = EngineFailed() if fails else None

    @rule(is_down=st.booleans())
    def let_the_store_fail(self, is_down):
        self.store.error = StoreUnavailable("down") if is_down else None

    @rule(number=numbers, is_flipped=st.booleans())
    def flip_a_byte(self, number, is_flipped):
        key = artifact_key(self.versions[number].digest, WEIGHTS_FILE)
        self.store.objects[key] = b"x" * 100 if is_flipped else self.good[key]

    @rule(is_open=st.booleans(), count=ticks)
    def hold_the_engine(self, is_open, count):
        (self.host.open.set if is_open else self.host.open.clear)()
        self.go(count)

    @rule(is_open=st.booleans(), count=ticks)
    def hold_the_store(self, is_open, count):
        (self.store.open.set if is_open else self.store.open.clear)()
        self.go(count)

    @rule(number=numbers, count=ticks)
    def retire(self, number, count):
        retiring = self.registry.retire(self.versions[number])
        self.background.append(self.loop.create_task(retiring))
        self.go(count)

    @rule(number=numbers, count=ticks)
    def reinstate(self, number, count):
        reinstating = self.registry.reinstate(self.versions[number])
        self.background.append(self.loop.create_task(reinstating))
        self.go(count)

    @rule(number=numbers)
    def evict_from_disk(self, number):
        self.loop.run_until_complete(self.cache.remove(self.versions[number].digest))

    @rule(count=st.integers(0, 60))
    def pass_time(self, count):
        self.go(count)

    @invariant()
    def the_engine_was_never_asked_for_more_than_it_can(self):
        assert self.host.violations == []
        residents = self.registry.stats().residents[BASE]
        assert len(self.host.known) <= residents.resident <= CAPACITY

    @invariant()
    def leased_versions_are_known_and_whole_on_disk(self):
        for client in self.clients.values():
            if client.lease is not None:
                adapter = client.lease.adapter
                assert self.host.known[adapter.engine_id] is adapter
                assert artifact_digest(adapter.path) == adapter.version.digest

    @invariant()
    def whatever_the_engine_knows_is_whole_on_disk(self):
        for adapter in self.host.known.values():
            assert artifact_digest(adapter.path) == adapter.version.digest

    @invariant()
    def places_do_not_lie_idle_while_somebody_waits(self):
        residents = self.registry.stats().residents[BASE]
        busy = len(self.registry._residencies[BASE]._leaving)
        assert residents.waiting == 0 or busy or residents.resident == CAPACITY

    @invariant()
    def ended_clients_ended_in_a_known_way(self):
        for task in [task for task in self.clients if task.done()]:
            del self.clients[task]
            if not task.cancelled() and (error := task.exception()) is not None:
                assert isinstance(error, RegistryError | EngineFailed), error

    def teardown(self):
        try:
            self.loop.run_until_complete(self.finish())
        finally:
            self.loop.close()
            self.directory.cleanup()
        assert len(os.listdir("/proc/self/fd")) == self.descriptors

    async def end(self, *tasks):
        for _ in range(2000):
            if all(task.done() for task in tasks):
                break
            await asyncio.sleep(0)
        assert all(task.done() for task in tasks)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def serve(self, version):
        await self.registry.reinstate(version)
        async with self.registry.lease(version) as lease:
            assert lease.adapter.engine_id in self.host.known

    async def finish(self):
        """All good again: everybody is served or told why not, and nothing is left over."""
        self.host.load_error = self.host.unload_error = self.store.error = None
        self.host.refused.clear()
        self.store.objects.update(self.good)
        self.host.open.set()
        self.store.open.set()
        for client in self.clients.values():
            client.stop.set()
        await self.end(*self.clients, *self.background)
        for version in self.versions:
            serving = self.loop.create_task(self.serve(version))
            await self.end(serving)
            serving.result()
        for version in self.versions:
            retiring = self.loop.create_task(self.registry.retire(version))
            await self.end(retiring)
            retiring.result()
        assert self.host.known == {}
        assert self.host.violations == []
        assert [path.name for path in self.root.iterdir()] == ["tmp"]
        assert self.cache.used_bytes == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await self.registry.close()
        await self.cache.close()


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(
    max_examples=200,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
