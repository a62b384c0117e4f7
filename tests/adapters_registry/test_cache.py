import asyncio
import errno
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from adapters_registry import cache as cache_module
from adapters_registry import entries as entries_module
from adapters_registry import entry
from adapters_registry.artifacts import ARTIFACT_FILES, artifact_key, publish
from adapters_registry.cache import DiskCache
from adapters_registry.download import Retries
from adapters_registry.errors import (
    AdapterCapacityExceeded,
    ObjectCorrupt,
    ObjectNotFound,
    StoreUnavailable,
)
from adapters_registry.testing import MemoryStore, make_artifact, until
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, AdapterVersion, Digest, Tier
from tests.adapters_registry.descriptors import open_below

SIZE = 107  # bytes of each artifact here: 7 of config, 100 of weights
ONCE = Retries(attempts=1, pause_seconds=0.0)
CONTENTS = [bytes([number]) * 100 for number in range(4)]


@pytest.fixture
def artifacts(tmp_path):
    return [
        make_artifact(tmp_path / f"upload{number}", "base", content, stored_as=f"ft_{number}")
        for number, content in enumerate(CONTENTS)
    ]


@pytest.fixture
def versions(artifacts):
    return [artifact.version for artifact in artifacts]


@pytest.fixture
def digests(versions):
    return [version.digest for version in versions]


@pytest.fixture
async def store(artifacts):
    store = MemoryStore()
    for artifact in artifacts:
        await publish(store, artifact, artifact.version.stored_as)
    return store


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
async def cache(root, store):
    async with DiskCache(root, store, max_bytes=2 * SIZE, retries=ONCE) as cache:
        yield cache


def entries(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.name != "tmp"}


def temporary_files(root: Path) -> list[Path]:
    return [path for path in (root / "tmp").rglob("*") if path.parent != root / "tmp"]


def age(root: Path, digest: Digest, seconds: int) -> None:
    os.utime(root / digest, (seconds, seconds))


async def fetch_unpinned(cache: DiskCache, version: AdapterVersion) -> Tier:
    pin = await cache.fetch(version)
    pin.release()
    return pin.tier


async def test_a_first_fetch_brings_exactly_the_two_files(cache, root, versions, digests):
    pin = await cache.fetch(versions[0])
    assert (pin.path, pin.tier) == (root / digests[0], Tier.STORE)
    assert {path.name for path in pin.path.iterdir()} == set(ARTIFACT_FILES)
    assert (pin.path / WEIGHTS_FILE).read_bytes() == CONTENTS[0]
    assert temporary_files(root) == []
    pin.release()


async def test_a_second_fetch_reads_no_store(cache, store, versions):
    await fetch_unpinned(cache, versions[0])
    gets = store.gets.total()
    assert await fetch_unpinned(cache, versions[0]) is Tier.DISK
    assert store.gets.total() == gets


async def test_used_bytes_follow_fetch_and_removal(cache, versions, digests):
    await fetch_unpinned(cache, versions[0])
    assert cache.used_bytes == SIZE
    assert await cache.remove(digests[0])
    assert cache.used_bytes == 0


async def test_removing_a_missing_entry_is_no_error(cache, digests):
    assert await cache.remove(digests[0])


@pytest.mark.parametrize("file", ARTIFACT_FILES)
async def test_a_flipped_byte_in_the_store_is_corrupt_and_not_kept(
    cache, store, root, versions, file
):
    key = artifact_key(versions[0].stored_as, file)
    content = bytearray(store.objects[key])
    content[3] ^= 1
    store.objects[key] = bytes(content)
    with pytest.raises(ObjectCorrupt):
        await cache.fetch(versions[0])
    assert (entries(root), temporary_files(root)) == (set(), [])


@pytest.mark.parametrize("missing", [ARTIFACT_FILES, ARTIFACT_FILES[:1], ARTIFACT_FILES[1:]])
async def test_an_artifact_missing_in_the_store_leaves_nothing(
    cache, store, root, versions, missing
):
    for file in missing:
        del store.objects[artifact_key(versions[0].stored_as, file)]
    with pytest.raises(ObjectNotFound):
        await cache.fetch(versions[0])
    assert (entries(root), temporary_files(root)) == (set(), [])


@pytest.mark.parametrize("digest", ["../../etc", "tmp", "A" * 64, ""])
async def test_a_name_that_is_no_digest_is_refused(cache, digest):
    with pytest.raises(ValueError, match="not a digest"):
        await cache.fetch(AdapterVersion(Digest(digest), "base"))


async def test_a_cache_that_is_not_open_downloads_nothing(root, store, versions):
    root.mkdir()
    with pytest.raises(RuntimeError, match="not open"):
        await DiskCache(root, store, max_bytes=SIZE).fetch(versions[0])


async def test_the_least_recently_used_entry_makes_room(cache, root, versions, digests):
    for seconds, version in enumerate(versions[:2]):
        await fetch_unpinned(cache, version)
        age(root, version.digest, seconds)
    await fetch_unpinned(cache, versions[0])
    await fetch_unpinned(cache, versions[2])
    assert entries(root) == {digests[0], digests[2]}
    assert cache.used_bytes == 2 * SIZE


async def test_a_pinned_entry_is_never_evicted(cache, root, versions, digests):
    pin = await cache.fetch(versions[0])
    age(root, digests[0], 0)
    await fetch_unpinned(cache, versions[1])
    await fetch_unpinned(cache, versions[2])
    assert entries(root) == {digests[0], digests[2]}
    pin.release()


async def test_an_entry_pinned_twice_needs_two_releases(cache, versions, digests):
    first, second = await cache.fetch(versions[0]), await cache.fetch(versions[0])
    first.release()
    first.release()
    assert not await cache.remove(digests[0])
    second.release()
    assert await cache.remove(digests[0])


async def test_a_budget_of_pinned_entries_is_exceeded_capacity(cache, root, versions, digests):
    pins = [await cache.fetch(version) for version in versions[:2]]
    with pytest.raises(AdapterCapacityExceeded):
        await cache.fetch(versions[2])
    assert (entries(root), temporary_files(root)) == (set(digests[:2]), [])
    for pin in pins:
        pin.release()
    assert await fetch_unpinned(cache, versions[2]) is Tier.STORE


async def test_an_artifact_above_the_budget_evicts_nothing(
    root, store, versions, digests, tmp_path
):
    big = make_artifact(tmp_path / "big", "base", b"x" * 3 * SIZE, stored_as="ft_big")
    await publish(store, big, "ft_big")
    async with DiskCache(root, store, max_bytes=2 * SIZE) as cache:
        await fetch_unpinned(cache, versions[0])
        with pytest.raises(AdapterCapacityExceeded):
            await cache.fetch(big.version)
        assert entries(root) == {digests[0]}


async def test_an_entry_that_never_stays_ends_in_an_error(cache, versions, monkeypatch):
    monkeypatch.setattr(cache._entries, "enter", lambda *_: None)
    with pytest.raises(AdapterCapacityExceeded):
        await cache.fetch(versions[0])


async def test_a_full_disk_is_exceeded_capacity(cache, store, root, versions):
    full = StoreUnavailable("cannot write")
    full.__cause__ = OSError(errno.ENOSPC, "full")
    store.error = full
    with pytest.raises(AdapterCapacityExceeded):
        await cache.fetch(versions[0])
    assert temporary_files(root) == []


async def test_a_failing_store_stays_a_failing_store(cache, store, versions):
    store.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await cache.fetch(versions[0])


async def test_a_cancelled_fetch_leaves_nothing(cache, store, root, versions):
    store.open.clear()
    fetching = asyncio.create_task(cache.fetch(versions[0]))
    await until(lambda: store.gets.total() == 2)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert (entries(root), temporary_files(root)) == (set(), [])


async def test_added_artifacts_need_no_download(cache, store, artifacts):
    for _ in range(2):
        (await cache.add(artifacts[0])).release()
    assert await fetch_unpinned(cache, artifacts[0].version) is Tier.DISK
    assert store.gets.total() == 0
    assert artifacts[0].directory.exists()


async def test_a_changed_artifact_is_not_added(cache, root, artifacts):
    (artifacts[0].directory / CONFIG_FILE).write_bytes(b"{}")
    with pytest.raises(ObjectCorrupt):
        await cache.add(artifacts[0])
    assert (entries(root), temporary_files(root)) == (set(), [])


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.ENOSPC, AdapterCapacityExceeded), (errno.EIO, OSError)]
)
async def test_add_tells_a_full_disk_from_a_broken_one(
    cache, root, artifacts, monkeypatch, code, expected
):
    def fail(*_):
        raise OSError(code, "injected")

    monkeypatch.setattr(cache_module.shutil, "copyfile", fail)
    with pytest.raises(expected):
        await cache.add(artifacts[0])
    assert temporary_files(root) == []


def at_step(monkeypatch, step: int, act) -> None:
    """Call `act` before the step-th change of the disk."""
    steps = 0

    def interrupt(original):
        def call(*args, **kwargs):
            nonlocal steps
            steps += 1
            if steps == step:
                act()
            return original(*args, **kwargs)

        return call

    for owner, name in ((Path, "rename"), (os, "fsync"), (shutil, "rmtree"), (Path, "mkdir")):
        monkeypatch.setattr(owner, name, interrupt(getattr(owner, name)))


@pytest.mark.parametrize("step", range(1, 11))
async def test_a_crash_at_any_step_leaves_only_whole_entries(
    store, root, versions, digests, tmp_path, monkeypatch, step
):
    remains = tmp_path / "remains"
    async with DiskCache(root, store, max_bytes=SIZE) as cache:
        await fetch_unpinned(cache, versions[0])
        with monkeypatch.context() as patch:
            at_step(patch, step, lambda: shutil.copytree(root, remains))
            await fetch_unpinned(cache, versions[1])
            await cache.remove(digests[1])
    assert remains.exists()
    for found in entries(remains):
        assert entry.is_whole(remains / found)
    async with DiskCache(remains, store, max_bytes=SIZE) as recovered:
        assert temporary_files(remains) == []
        assert recovered.used_bytes == SIZE * len(entries(remains)) <= SIZE
        for version in versions[:2]:
            await fetch_unpinned(recovered, version)


@pytest.mark.parametrize("step", range(1, 9))
async def test_an_error_at_any_step_of_a_fetch_keeps_no_half_entry(
    cache, root, versions, monkeypatch, step
):
    def fail():
        raise OSError(errno.EIO, "injected")

    await fetch_unpinned(cache, versions[0])
    await fetch_unpinned(cache, versions[1])
    with monkeypatch.context() as patch:
        at_step(patch, step, fail)
        with pytest.raises(OSError, match="injected"):
            await cache.fetch(versions[2])
    assert all(entry.is_whole(root / found) for found in entries(root))
    assert await fetch_unpinned(cache, versions[2]) in (Tier.STORE, Tier.DISK)


async def test_opening_removes_half_entries_and_leaves_strangers_alone(root, store, digests):
    half = root / digests[0]
    half.mkdir(parents=True)
    (half / WEIGHTS_FILE).write_bytes(CONTENTS[0])
    (root / "lost+found").mkdir()
    (root / "tmp").mkdir()
    (root / "tmp" / "note").write_text("not a directory")
    async with DiskCache(root, store, max_bytes=SIZE):
        assert entries(root) == {"lost+found"}


async def test_opening_adopts_whole_entries_up_to_the_budget(root, store, versions, digests):
    async with DiskCache(root, store, max_bytes=4 * SIZE) as cache:
        for seconds, version in enumerate(versions):
            await fetch_unpinned(cache, version)
            age(root, version.digest, seconds)
    gets = store.gets.total()
    async with DiskCache(root, store, max_bytes=2 * SIZE) as cache:
        assert entries(root) == set(digests[2:])
        assert await fetch_unpinned(cache, versions[3]) is Tier.DISK
    assert store.gets.total() == gets


async def test_an_entry_damaged_while_open_is_fetched_again(cache, root, versions, digests):
    await fetch_unpinned(cache, versions[0])
    (root / digests[0] / CONFIG_FILE).unlink()
    assert await fetch_unpinned(cache, versions[0]) is Tier.STORE
    assert entry.is_whole(root / digests[0])


async def test_closing_twice_is_harmless(root, store):
    cache = DiskCache(root, store, max_bytes=SIZE)
    await cache.open()
    await cache.close()
    await cache.close()
    assert list((root / "tmp").iterdir()) == []


async def test_two_caches_over_one_root_race_for_one_entry(cache, root, store, versions, digests):
    async with DiskCache(root, store, max_bytes=2 * SIZE) as other:
        store.open.clear()
        fetches = [asyncio.create_task(each.fetch(versions[0])) for each in (cache, other)]
        await until(lambda: store.gets.total() == 4)
        store.open.set()
        pins = await asyncio.gather(*fetches)
    assert {pin.path for pin in pins} == {root / digests[0]}
    assert temporary_files(root) == []
    for pin in pins:
        pin.release()


async def test_the_faster_cache_wins_between_check_and_rename(
    cache, root, artifacts, versions, digests, monkeypatch
):
    make_room = cache._entries._make_room

    def lose_the_race(needed):
        shutil.copytree(artifacts[0].directory, root / digests[0])
        return make_room(needed)

    monkeypatch.setattr(cache._entries, "_make_room", lose_the_race)
    assert await fetch_unpinned(cache, versions[0]) is Tier.STORE
    assert temporary_files(root) == []


async def test_a_rename_that_fails_is_an_error_and_leaves_nothing(
    cache, root, versions, digests, monkeypatch
):
    def refuse(needed):
        os.mkdir(root / digests[0], mode=0o700)
        (root / digests[0]).rmdir()
        (root / digests[0]).write_text("a file in the way")
        return True

    monkeypatch.setattr(cache._entries, "_make_room", refuse)
    with pytest.raises(NotADirectoryError):
        await cache.fetch(versions[0])
    assert temporary_files(root) == []


async def test_opening_spares_the_work_of_a_living_cache(cache, root, store, versions):
    store.open.clear()
    fetching = asyncio.create_task(cache.fetch(versions[0]))
    await until(lambda: store.gets.total() == 2)
    async with DiskCache(root, store, max_bytes=2 * SIZE):
        store.open.set()
        (await fetching).release()


async def test_one_cache_does_not_evict_what_another_has_pinned(
    cache, root, store, versions, digests
):
    pin = await cache.fetch(versions[0])
    async with DiskCache(root, store, max_bytes=SIZE) as other:
        with pytest.raises(AdapterCapacityExceeded):
            await other.fetch(versions[1])
        assert not await other.remove(digests[0])
        pin.release()
        await fetch_unpinned(other, versions[1])
    assert entries(root) == {digests[1]}


async def test_a_lock_is_not_given_on_a_directory_that_was_renamed_meanwhile(tmp_path, monkeypatch):
    directory = tmp_path / "entry"
    directory.mkdir()
    flock = entry.fcntl.flock

    def rename_first(descriptor, kind):
        if directory.exists():
            directory.rename(tmp_path / "doomed")
        flock(descriptor, kind)

    monkeypatch.setattr(entry.fcntl, "flock", rename_first)
    assert entry.try_lock(directory, entry.SHARED) is None


def test_a_release_frees_the_entry_though_a_forked_child_has_the_descriptor(tmp_path):
    lock = entry.try_lock(tmp_path, entry.SHARED)
    copy = os.dup(lock)  # what a fork does to it
    entry.unlock(lock)
    again = entry.try_lock(tmp_path, entry.EXCLUSIVE)
    os.close(copy)
    assert again is not None
    entry.unlock(again)


def damage(directory: Path) -> None:
    """Flip one bit of the weights, as a bad disk does."""
    weights = bytearray((directory / WEIGHTS_FILE).read_bytes())
    weights[50] ^= 1
    (directory / WEIGHTS_FILE).write_bytes(weights)


@pytest.fixture
async def left_behind(root, store, versions):
    """A cache directory in which an earlier process left the first two adapters."""
    async with DiskCache(root, store, max_bytes=4 * SIZE) as earlier:
        for version in versions[:2]:
            await fetch_unpinned(earlier, version)
    store.gets.clear()
    return root


async def test_a_damaged_entry_of_an_earlier_process_is_replaced(left_behind, store, versions):
    damage(left_behind / versions[0].digest)
    refused = []
    async with DiskCache(
        left_behind, store, max_bytes=4 * SIZE, on_refused=refused.append
    ) as cache:
        assert await fetch_unpinned(cache, versions[0]) is Tier.STORE
        assert await fetch_unpinned(cache, versions[1]) is Tier.DISK
        assert cache.used_bytes == 2 * SIZE
    assert refused == ["corrupt"]
    assert (left_behind / versions[0].digest / WEIGHTS_FILE).read_bytes() == CONTENTS[0]


async def test_an_entry_of_an_earlier_process_is_hashed_once(
    left_behind, store, versions, monkeypatch
):
    hashed = []
    artifact_digest = entries_module.artifact_digest

    def count(directory):
        hashed.append(directory)
        return artifact_digest(directory)

    monkeypatch.setattr(entries_module, "artifact_digest", count)
    async with DiskCache(left_behind, store, max_bytes=4 * SIZE) as cache:
        pins = await asyncio.gather(*(cache.fetch(versions[0]) for _ in range(5)))
        for pin in pins:
            pin.release()
        assert await fetch_unpinned(cache, versions[0]) is Tier.DISK
    assert hashed == [left_behind / versions[0].digest]


async def test_a_file_that_cannot_be_read_counts_as_damaged(
    left_behind, store, versions, monkeypatch
):
    def fail(_):
        raise OSError(errno.EIO, "bad sector")

    monkeypatch.setattr(entries_module, "artifact_digest", fail)
    async with DiskCache(left_behind, store, max_bytes=4 * SIZE) as cache:
        assert await fetch_unpinned(cache, versions[0]) is Tier.STORE


async def test_a_damaged_entry_is_never_served_while_the_store_is_down(
    left_behind, store, versions
):
    damage(left_behind / versions[0].digest)
    store.error = StoreUnavailable("down")
    async with DiskCache(left_behind, store, max_bytes=4 * SIZE, retries=ONCE) as cache:
        with pytest.raises(StoreUnavailable):
            await cache.fetch(versions[0])
        assert entries(left_behind) == {versions[1].digest}


async def test_a_damaged_entry_that_another_process_has_pinned_is_refused(
    left_behind, store, versions
):
    async with (
        DiskCache(left_behind, store, max_bytes=4 * SIZE) as other,
        DiskCache(left_behind, store, max_bytes=4 * SIZE) as cache,
    ):
        pin = await other.fetch(versions[0])
        damage(pin.path)
        with pytest.raises(ObjectCorrupt):
            await cache.fetch(versions[0])
        pin.release()
        assert await fetch_unpinned(cache, versions[0]) is Tier.STORE


async def test_a_fetch_cancelled_while_an_entry_is_hashed_keeps_no_lock(
    left_behind, store, versions, monkeypatch
):
    started, release = threading.Event(), threading.Event()
    artifact_digest = entries_module.artifact_digest

    def wait(directory):
        started.set()
        release.wait()
        return artifact_digest(directory)

    monkeypatch.setattr(entries_module, "artifact_digest", wait)
    async with DiskCache(left_behind, store, max_bytes=4 * SIZE) as cache:
        before = open_below(left_behind)
        fetching = asyncio.create_task(cache.fetch(versions[0]))
        await asyncio.to_thread(started.wait)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        release.set()
        assert await fetch_unpinned(cache, versions[0]) is Tier.DISK
        assert open_below(left_behind) == before
        assert await cache.remove(versions[0].digest)


async def test_opening_and_serving_from_disk_ask_no_store(left_behind, store, versions):
    store.error = StoreUnavailable("down")
    async with DiskCache(left_behind, store, max_bytes=4 * SIZE) as cache:
        for version in versions[:2]:
            assert await fetch_unpinned(cache, version) is Tier.DISK
    assert store.gets.total() == 0


async def test_a_version_that_is_not_stored_is_found_on_disk_only(cache, artifacts):
    version = replace(artifacts[0].version, stored_as=None)
    with pytest.raises(ObjectNotFound):
        await cache.fetch(version)
    (await cache.add(artifacts[0])).release()
    assert await fetch_unpinned(cache, version) is Tier.DISK


async def test_an_added_artifact_is_pinned_from_the_start(cache, artifacts, versions):
    pin = await cache.add(artifacts[0])
    assert (pin.path, pin.tier) == (cache._entries.root / versions[0].digest, Tier.DISK)
    age(cache._entries.root, versions[0].digest, 0)
    await fetch_unpinned(cache, versions[1])
    await fetch_unpinned(cache, versions[2])
    assert not await cache.remove(versions[0].digest)
    pin.release()
    assert await cache.remove(versions[0].digest)


async def test_unused_entries_are_those_not_touched_for_so_long(cache, root, versions):
    for version in versions[:2]:
        await fetch_unpinned(cache, version)
    age(root, versions[0].digest, int(time.time()) - 100)
    assert await cache.unused(99) == [versions[0].digest]
    assert await cache.unused(200) == []
    await fetch_unpinned(cache, versions[0])
    assert await cache.unused(99) == []


async def test_half_an_entry_is_not_among_the_unused(cache, root, versions):
    await fetch_unpinned(cache, versions[0])
    (root / versions[0].digest / CONFIG_FILE).unlink()
    age(root, versions[0].digest, 0)
    assert await cache.unused(1) == []


async def test_fetching_leaks_no_descriptor(cache, root, versions):
    await fetch_unpinned(cache, versions[0])
    before = open_below(root)
    for version in versions * 3:
        await fetch_unpinned(cache, version)
    assert open_below(root) == before


async def test_an_entry_of_the_last_download_is_used(cache, versions, monkeypatch):
    entries, enter, downloads = cache._entries, cache._entries.enter, 0

    def lose_its_lock(temp, digest, size_bytes, is_kept):
        nonlocal downloads
        downloads += 1
        enter(temp, digest, size_bytes, False)
        if downloads < 3:
            entries.remove(digest)

    monkeypatch.setattr(entries, "enter", lose_its_lock)
    (await cache.fetch(versions[0])).release()
    assert downloads == 3


async def test_a_fetched_entry_cannot_be_removed_before_it_is_pinned(cache, versions, monkeypatch):
    enter = cache._entries.enter

    def try_to_remove(*args):
        lock = enter(*args)
        assert not cache._entries.remove(versions[0].digest)
        return lock

    monkeypatch.setattr(cache._entries, "enter", try_to_remove)
    (await cache.fetch(versions[0])).release()


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_a_cancelled_fetch_never_empties_what_its_thread_entered(
    cache, root, versions, monkeypatch, cancellations
):
    started, go_on = threading.Event(), threading.Event()
    rename_in = cache._entries._rename_in

    def wait(*args):
        started.set()
        go_on.wait()
        return rename_in(*args)

    monkeypatch.setattr(cache._entries, "_rename_in", wait)
    before = open_below(root)
    fetching = asyncio.create_task(cache.fetch(versions[0]))
    await asyncio.to_thread(started.wait)
    for _ in range(cancellations):
        fetching.cancel()
        await asyncio.sleep(0)
    if cancellations == 1:
        assert not fetching.done()
        go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    go_on.set()
    await until(lambda: open_below(root) == before)
    monkeypatch.undo()
    pin = await cache.fetch(versions[0])
    assert {path.name for path in pin.path.iterdir()} == set(ARTIFACT_FILES)
    assert temporary_files(root) == []
    pin.release()


async def test_a_fetch_cancelled_after_it_entered_keeps_no_lock(cache, versions, monkeypatch):
    entered, go_on = threading.Event(), threading.Event()
    enter = cache._entries.enter

    def wait(*args):
        lock = enter(*args)
        entered.set()
        go_on.wait()
        return lock

    monkeypatch.setattr(cache._entries, "enter", wait)
    fetching = asyncio.create_task(cache.fetch(versions[0]))
    await asyncio.to_thread(entered.wait)
    fetching.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    await asyncio.sleep(0)
    assert await cache.remove(versions[0].digest)


async def test_what_has_no_room_is_not_downloaded_where_its_size_is_known(cache, store, versions):
    pins = [await cache.fetch(version) for version in versions[:2]]
    store.gets.clear()
    with pytest.raises(AdapterCapacityExceeded):
        await cache.fetch(replace(versions[2], size_bytes=SIZE))
    assert store.gets.total() == 0
    pins.pop().release()
    (await cache.fetch(replace(versions[2], size_bytes=SIZE))).release()
    pins.pop().release()


async def test_an_artifact_without_room_is_not_copied(cache, artifacts, versions, monkeypatch):
    pins = [await cache.fetch(version) for version in versions[:2]]
    monkeypatch.setattr(cache_module, "_copy_files", None)
    with pytest.raises(AdapterCapacityExceeded):
        await cache.add(artifacts[2])
    for pin in pins:
        pin.release()


async def test_a_failed_download_evicts_nothing(cache, store, root, versions, digests):
    for version in versions[:2]:
        await fetch_unpinned(cache, version)
    store.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await cache.fetch(replace(versions[2], size_bytes=SIZE))
    assert entries(root) == set(digests[:2])


async def test_what_cannot_have_room_evicts_nothing(root, store, versions, digests, tmp_path):
    big = make_artifact(tmp_path / "big", "base", b"x" * 150, stored_as="ft_big")
    await publish(store, big, "ft_big")
    async with DiskCache(root, store, max_bytes=2 * SIZE) as cache:
        pin = await cache.fetch(versions[0])
        await fetch_unpinned(cache, versions[1])
        with pytest.raises(AdapterCapacityExceeded):
            await cache.fetch(big.version)
        assert entries(root) == set(digests[:2])
        pin.release()


class IdlePins:
    """Holds pins that it gives up when asked; the first is to go first."""

    def __init__(self, cache: DiskCache) -> None:
        self.pins = {}
        self.asked = []
        self.is_willing = True
        cache.unpin_with(lambda: list(self.pins), self.give_up)

    async def give_up(self, digests) -> None:
        self.asked.append(list(digests))
        await asyncio.sleep(0)
        for digest in digests if self.is_willing else ():
            self.pins.pop(digest).release()


@pytest.fixture
async def idle(cache, versions):
    idle = IdlePins(cache)
    for version in versions[:2]:
        idle.pins[version.digest] = await cache.fetch(version)
    yield idle
    for pin in idle.pins.values():
        pin.release()


async def test_idle_pins_make_room_least_wanted_first(cache, idle, root, versions, digests):
    await fetch_unpinned(cache, versions[2])
    assert idle.asked == [[digests[0]]]
    assert entries(root) == set(digests[1:3])


async def test_idle_pins_make_room_for_what_is_added(cache, idle, artifacts, digests):
    (await cache.add(artifacts[2])).release()
    assert idle.asked == [[digests[0]]]


async def test_many_fetches_at_once_take_room_in_turn(cache, idle, versions):
    await asyncio.gather(*(cache.prefetch(version) for version in versions[2:] * 5))
    assert cache.used_bytes == 2 * SIZE
    assert len(idle.asked) <= 2


async def test_no_more_idle_pins_go_than_must(cache, idle, versions, digests):
    await fetch_unpinned(cache, versions[2])
    await fetch_unpinned(cache, versions[3])
    assert idle.asked == [[digests[0]]]


async def test_idle_pins_stay_where_they_are_not_enough(cache, idle, versions, digests):
    other = idle.pins.pop(digests[1])
    with pytest.raises(AdapterCapacityExceeded):
        await cache.fetch(replace(versions[2], size_bytes=2 * SIZE))
    assert idle.asked == []
    other.release()


async def test_pins_that_are_not_given_up_are_asked_for_some_times_only(cache, idle, versions):
    idle.is_willing = False
    with pytest.raises(AdapterCapacityExceeded):
        await cache.fetch(versions[2])
    assert len(idle.asked) == 10


async def test_room_waits_for_entries_that_are_hashed(left_behind, store, versions, monkeypatch):
    started, go_on = threading.Event(), threading.Event()
    artifact_digest = entries_module.artifact_digest

    def wait(directory):
        started.set()
        go_on.wait()
        return artifact_digest(directory)

    monkeypatch.setattr(entries_module, "artifact_digest", wait)
    async with DiskCache(left_behind, store, max_bytes=2 * SIZE, retries=ONCE) as cache:
        pin_of_another = entry.try_lock(left_behind / versions[1].digest, entry.SHARED)
        looking = asyncio.create_task(cache.prefetch(versions[0]))
        await asyncio.to_thread(started.wait)
        fetching = asyncio.create_task(cache.fetch(replace(versions[2], size_bytes=SIZE)))
        await asyncio.sleep(0.01)
        go_on.set()
        assert await looking is Tier.DISK
        (await fetching).release()
        entry.unlock(pin_of_another)


async def test_a_prefetched_version_is_on_disk_and_not_pinned(cache, store, versions):
    assert await cache.prefetch(versions[0]) is Tier.STORE
    age(cache._entries.root, versions[0].digest, 0)
    gets = store.gets.total()
    assert await cache.prefetch(versions[0]) is Tier.DISK
    assert store.gets.total() == gets
    assert await cache.unused(60) == []
    assert await cache.remove(versions[0].digest)


async def test_a_pin_is_not_lost_to_a_look_for_room(cache, store, versions, monkeypatch):
    await fetch_unpinned(cache, versions[0])
    gets = store.gets.total()
    try_pin, tries = cache._entries.try_pin, 0

    def fail_once(digest):
        nonlocal tries
        tries += 1
        return None if tries == 1 else try_pin(digest)

    monkeypatch.setattr(cache._entries, "try_pin", fail_once)
    (await cache.fetch(versions[0])).release()
    assert store.gets.total() == gets
