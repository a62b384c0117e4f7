"""Random interleavings of everything that can happen to a replica and its registry."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from adapters_registry.artifacts import ARTIFACT_FILES, artifact_key
from adapters_registry.digest import artifact_digest
from adapters_registry.errors import (
    AdapterCapacityExceeded,
    AdapterLoadFailed,
    EngineReplaced,
    ObjectCorrupt,
    ObjectNotFound,
    StoreUnavailable,
)
from adapters_registry.testing import make_artifact
from adapters_registry.types import WEIGHTS_FILE
from tests.adapters_registry.descriptors import open_below
from tests.adapters_registry.replica import (
    BASE,
    CAPACITY,
    MAX_RUNNING,
    SLOTS,
    WAIT_SECONDS,
    Client,
    Database,
    EngineFailed,
    Replica,
    SlowStore,
)
from tests.adapters_registry.still_loop import StillLoop

NAMES = "abc"
CONTENTS = 6
SIZE = 107
MAX_BYTES = 3 * SIZE  # fewer than the contents: the disk is often full of what engines hold

names = st.sampled_from(NAMES)
contents = st.integers(0, CONTENTS - 1)
some = st.integers(0, 23)
"""Which one of those there are; one past the last is the first again."""
ticks = st.integers(0, 15)


ENGINE_STATES = {
    "well": set(),
    "waiting": set(),
    "refusing": {AdapterLoadFailed},
    "breaking off loads": {EngineFailed},
    "not unloading": {EngineFailed},
}
STORE_STATES = {"well": set(), "waiting": set(), "down": {StoreUnavailable}}
"""With what clients may fail for it."""


class RegistryMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.loop = StillLoop()
        self.directory = tempfile.TemporaryDirectory()
        path = Path(self.directory.name)
        self.artifacts = [
            make_artifact(path / f"upload{number}", BASE, bytes([number]) * 100)
            for number in range(CONTENTS)
        ]
        self.store = SlowStore()
        self.database = Database()
        self.deleted = "ft_unknown"
        self.excuses = {AdapterCapacityExceeded}
        self.crashes = 0
        self.start(path / "cache")
        for number, name in enumerate(NAMES * 2):
            self.register(name, number, 0)
            self.loop.end(*self.tasks)

    def start(self, root):
        self.replica = Replica(root, self.store, self.database, MAX_BYTES)
        self.clients = {}
        self.tasks = []
        self.loop.run_until_complete(self.replica.cache.open())

    def begin(self, work, count):
        self.tasks.append(self.loop.create_task(work))
        self.loop.tick(count)

    def pick(self, number):
        """Return some id: those that are asked for rather than those that are only registered."""
        asked = [client.id for client in self.clients.values()]
        ids = [*self.database.rows, self.deleted, *asked]
        return ids[number % len(ids)]

    def version(self, number):
        row = self.database.rows.get(self.pick(number))
        return None if row is None else row.version

    @rule(name=names, content=contents, count=ticks)
    def register(self, name, content, count):
        self.begin(self.replica.register(name, self.artifacts[content]), count)

    @rule(number=some, clients=st.integers(1, 4), count=ticks)
    def lease(self, number, clients, count):
        for _ in range(clients):
            client = Client(self.replica, self.pick(number))
            self.clients[self.loop.create_task(client.run())] = client
        self.loop.tick(count)

    @rule(first=some, count=ticks)
    def lease_all(self, first, count):
        for number in range(len(self.database.rows)):
            self.lease(first + number, 1, 0)
        self.loop.tick(count)

    @rule(number=some, count=ticks)
    def release(self, number, count):
        if clients := list(self.clients.values()):
            clients[number % len(clients)].stop.set()
        self.loop.tick(count)

    @rule(count=ticks)
    def release_all(self, count):
        for client in self.clients.values():
            client.stop.set()
        self.loop.tick(count)

    @rule(number=some, count=ticks)
    def cancel(self, number, count):
        if tasks := [*self.clients, *self.tasks]:
            tasks[number % len(tasks)].cancel()
        self.loop.tick(count)

    @rule(number=some, count=ticks)
    def pin(self, number, count):
        self.begin(self.replica.pin(self.pick(number)), count)

    @rule(number=some)
    def unpin(self, number):
        if (version := self.version(number)) is not None:
            self.replica.registry.unpin(version)

    @rule(number=some, count=ticks)
    def delete(self, number, count):
        self.excuses.add(ObjectNotFound)
        self.deleted = self.pick(number)
        self.begin(self.replica.delete(self.deleted), count)

    @rule(name=names, count=ticks)
    def retire(self, name, count):
        self.excuses.add(ObjectNotFound)
        self.begin(self.replica.retire(name), count)

    @rule(count=ticks)
    def sweep(self, count):
        self.begin(self.replica.sweep(), count)

    @rule(content=contents)
    def evict_from_disk(self, content):
        digest = self.artifacts[content].version.digest
        self.loop.run_until_complete(self.replica.cache.remove(digest))

    # Real threads decide who is still at work, so that a precondition would make runs differ.
    @rule(keeps_disk=st.booleans())
    def crash(self, keeps_disk):
        """Nothing of the process survives but its directory, as it is now."""
        if not (self.clients or self.tasks):
            return
        dead, dead_tasks = self.replica, [*self.clients, *self.tasks]
        self.crashes += 1
        root = Path(self.directory.name) / f"cache{self.crashes}"
        if keeps_disk:
            shutil.copytree(dead.root, root)
        self.bury(dead, dead_tasks)
        self.start(root)

    def bury(self, replica, tasks):
        for task in tasks:
            task.cancel()
        replica.host.open.set()
        self.loop.run_until_complete(replica.close())
        self.loop.end(*tasks)
        for task in tasks:
            task.cancelled() or task.exception()
        assert replica.host.violations == []

    @rule()
    def replace_engine(self):
        if not (self.clients or self.tasks):
            return
        self.excuses.add(EngineReplaced)
        self.replica.host.known.clear()
        self.loop.run_until_complete(self.forget())

    async def forget(self):
        await self.replica.registry.forget(BASE)
        self.replica.host.known.clear()
        for client in self.clients.values():
            client.lease = None  # of the engine that is gone

    @rule(state=st.sampled_from(list(ENGINE_STATES)), content=contents, count=ticks)
    def change_the_engine(self, state, content, count):
        self.excuses |= ENGINE_STATES[state]
        host = self.replica.host
        host.refused = {self.artifacts[content].version.digest} if state == "refusing" else set()
        host.load_error = EngineFailed() if state == "breaking off loads" else None
        host.unload_error = EngineFailed() if state == "not unloading" else None
        (host.open.clear if state == "waiting" else host.open.set)()
        self.loop.tick(count)

    @rule(state=st.sampled_from(list(STORE_STATES)), count=ticks)
    def change_the_store(self, state, count):
        self.excuses |= STORE_STATES[state]
        self.store.error = StoreUnavailable("down") if state == "down" else None
        (self.store.open.clear if state == "waiting" else self.store.open.set)()
        self.loop.tick(count)

    @rule(number=some, is_flipped=st.booleans())
    def flip_a_byte(self, number, is_flipped):
        self.excuses.add(ObjectCorrupt)
        if (version := self.version(number)) is not None:
            key = artifact_key(version.stored_as, WEIGHTS_FILE)
            self.store.objects[key] = b"x" * 100 if is_flipped else self.weights(version)

    def weights(self, version):
        artifact = next(each for each in self.artifacts if each.version == version)
        return (artifact.directory / WEIGHTS_FILE).read_bytes()

    @rule(count=st.integers(0, 60))
    def go_on(self, count):
        self.loop.tick(count)

    @rule(seconds=st.sampled_from((1.0, WAIT_SECONDS)), count=ticks)
    def pass_time(self, seconds, count):
        self.loop.now += seconds
        self.loop.tick(count)

    @invariant()
    def the_engine_was_never_asked_for_more_than_it_can(self):
        host, stats = self.replica.host, self.replica.registry.stats().hosts[BASE]
        assert host.violations == []
        assert len(host.known) <= stats.residents.resident <= CAPACITY
        assert stats.turns.active_flows <= SLOTS
        assert stats.turns.running <= MAX_RUNNING
        assert stats.pinned <= CAPACITY - SLOTS

    @invariant()
    def leased_and_pinned_versions_are_in_the_engine(self):
        known = self.replica.host.known
        for client in self.clients.values():
            if client.lease is not None:
                assert known[client.lease.adapter.engine_id] is client.lease.adapter
        versions = {adapter.version for adapter in known.values()}
        assert versions.issuperset(self.replica.registry.pins)

    @invariant()
    def whatever_the_engine_knows_is_whole_on_disk(self):
        for adapter in self.replica.host.known.values():
            assert artifact_digest(adapter.path) == adapter.version.digest

    @invariant()
    def no_version_is_known_twice_and_no_id_is_used_again(self):
        known = self.replica.host.known.values()
        assert len({adapter.version.digest for adapter in known}) == len(known)

    @invariant()
    def the_disk_stays_within_its_budget(self):
        assert self.replica.disk_bytes() == self.replica.cache.used_bytes <= MAX_BYTES

    @invariant()
    def the_store_has_whatever_has_a_row(self):
        for id in self.database.rows:
            for file in ARTIFACT_FILES:
                assert artifact_key(id, file) in self.store.objects

    @invariant()
    def places_do_not_lie_idle_while_somebody_waits(self):
        registry = self.replica.registry
        residents = registry.stats().hosts[BASE].residents
        busy = registry._residencies[BASE]._leaving
        assert residents.waiting == 0 or busy or residents.resident == CAPACITY

    @invariant()
    def who_failed_has_an_excuse(self):
        for tasks in (self.clients, self.tasks):
            for task in [task for task in tasks if task.done()]:
                tasks.pop(task) if tasks is self.clients else tasks.remove(task)
                if not task.cancelled() and (error := task.exception()) is not None:
                    assert type(error) in self.excuses, repr(error)

    def teardown(self):
        try:
            self.finish()
        finally:
            self.loop.close()
            self.directory.cleanup()
        assert open_below(Path(self.directory.name)) == []

    def do(self, work):
        task = self.loop.create_task(work)
        self.loop.end(task)
        return task.result()

    def finish(self):
        """All good again: everything registered answers, and what was deleted is gone."""
        self.end_troubles()
        self.loop.end(*self.clients, *self.tasks)
        self.who_failed_has_an_excuse()
        self.loop.tick(300)
        self.nothing_is_left_over()
        for id in list(self.database.rows):
            client = Client(self.replica, id)
            client.stop.set()
            self.do(client.run())
            assert client.is_served
        self.do(self.replica.sweep())
        self.only_what_is_registered_is_here()
        for id in list(self.database.rows):
            self.do(self.replica.delete(id))
        self.only_what_is_registered_is_here()
        assert self.replica.host.known == {}
        assert (self.store.objects, self.replica.cache.used_bytes) == ({}, 0)
        self.bury(self.replica, [])
        assert asyncio.all_tasks(self.loop) == set()

    def end_troubles(self):
        self.change_the_engine("well", 0, 0)
        self.change_the_store("well", 0)
        for number in range(len(self.database.rows)):
            self.flip_a_byte(number, False)
        for client in self.clients.values():
            client.stop.set()

    def nothing_is_left_over(self):
        registry = self.replica.registry
        stats = registry.stats().hosts[BASE]
        assert (stats.turns, stats.residents.waiting) == ((0, 0, 0), 0)
        assert stats.residents.leased == stats.pinned
        assert registry._uses._uses == {}

    def only_what_is_registered_is_here(self):
        rows = self.database.rows
        digests = {row.version.digest for row in rows.values()}
        known = self.replica.host.known.values()
        assert digests.issuperset(adapter.version.digest for adapter in known)
        assert digests.issuperset(path.name for path in self.replica.entries())
        stored = {artifact_key(id, file) for id in rows for file in ARTIFACT_FILES}
        assert set(self.store.objects) == stored


def profile(examples, steps):
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class TestRegistry(RegistryMachine.TestCase):
    settings = profile(200, 50)


@pytest.mark.soak
@pytest.mark.timeout(1800)
class TestRegistryForLong(RegistryMachine.TestCase):
    settings = profile(5000, 100)
