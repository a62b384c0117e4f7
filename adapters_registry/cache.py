"""Verified artifacts on local disk, `<root>/<digest>/`, within a budget of bytes.

Brings them from the store, or from an upload, and hands out pins; `entries` has the directory
itself, which is the only state, so that a crash loses nothing and processes may share it. `root`
must be on a local file system. Refused: an entry whose bytes do not have the digest that names it.
They are hashed when they come, and once more at the first use of an entry that another process
left.
"""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from adapters_registry import entry
from adapters_registry.artifacts import ARTIFACT_FILES
from adapters_registry.digest import artifact_digest
from adapters_registry.download import DEFAULT_RETRIES, Downloader, OnRefused, Retries, ignore
from adapters_registry.entries import Entries, NoRoom
from adapters_registry.errors import AdapterCapacityExceeded, ObjectCorrupt
from adapters_registry.store import ObjectStore
from adapters_registry.tasks import SharedTasks
from adapters_registry.threads import finish
from adapters_registry.types import AdapterVersion, Artifact, Digest, Tier

_ATTEMPTS = 3
_ROOM_ATTEMPTS = 10
_IN_USE = "the byte budget of the disk cache is in use"

P = ParamSpec("P")
T = TypeVar("T")
Idle = Callable[[], list[Digest]]
"""Returns what is pinned for nobody now, least wanted first."""
GiveUp = Callable[[Collection[Digest]], Awaitable[None]]
"""Returns once those of them are released that nobody uses by then."""


class Pin:
    """The promise that the directory `path` stays whole until `release`."""

    def __init__(self, path: Path, tier: Tier, lock: int) -> None:
        self.path = path
        self.tier = tier
        self._lock: int | None = lock

    def release(self) -> None:
        """End the promise; a second call does nothing."""
        if self._lock is not None:
            os.utime(self._lock)
            entry.unlock(self._lock)
            self._lock = None


class DiskCache:
    """Content-addressed directories, removed least recently used first, never while pinned.

    `on_refused` is called in the event loop with why a copy was refused, once for each copy.
    """

    def __init__(
        self,
        root: Path,
        store: ObjectStore,
        *,
        max_bytes: int,
        retries: Retries = DEFAULT_RETRIES,
        on_refused: OnRefused = ignore,
    ) -> None:
        self._entries = Entries(root, max_bytes=max_bytes)
        self._downloader = Downloader(store, retries=retries, on_refused=on_refused)
        self._on_refused = on_refused
        self._inspections = SharedTasks()
        self._making_room = asyncio.Lock()
        self._idle: Idle = list
        self._give_up: GiveUp = _keep

    @property
    def used_bytes(self) -> int:
        """Bytes of all entries, as of the last change that this process made."""
        return self._entries.used_bytes

    @property
    def max_bytes(self) -> int:
        """The budget."""
        return self._entries.max_bytes

    @property
    def evictions(self) -> int:
        """How many entries this process has removed to make room for others."""
        return self._entries.evictions

    def unpin_with(self, idle: Idle, give_up: GiveUp) -> None:
        """Let it have idle pins given up where it needs their room, and no more than that.

        What `give_up` raises is raised to whom the room was for.
        """
        self._idle = idle
        self._give_up = give_up

    async def open(self) -> None:
        """Remove what crashed processes left, adopt whole entries and meet the budget.

        The store is not asked: what is on disk is served while the store is down.
        """
        await asyncio.to_thread(self._entries.open)

    async def close(self) -> None:
        """Remove this process's temporary files; entries and pins stay."""
        await self._inspections.close()
        await asyncio.to_thread(self._entries.close)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def fetch(self, version: AdapterVersion) -> Pin:
        """Return the version's pinned directory, downloaded and verified where it is missing.

        The pin is the caller's to release. Cancelling keeps nothing half done. Concurrent calls
        for one digest each download; single flight is the registry's. Where the version tells its
        size, nothing is downloaded for which there is no room.

        **Raises:** ObjectNotFound, ObjectCorrupt, StoreUnavailable; AdapterCapacityExceeded where
        the budget is pinned or the disk is full.
        """
        download = partial(self._download, version, is_kept=True)
        return await self._obtain(version.digest, download, Tier.STORE)

    async def prefetch(self, version: AdapterVersion) -> Tier:
        """Have the version on disk, not pinned, and return where it was.

        **Raises:** as `fetch`.
        """
        if await self._has(version.digest):
            self._entries.touch(version.digest)
            return Tier.DISK
        await self._download(version, is_kept=False)
        return Tier.STORE

    async def add(self, artifact: Artifact) -> Pin:
        """Copy a validated artifact in and pin it, so that its first lease needs no download.

        **Raises:** ObjectCorrupt, AdapterCapacityExceeded.
        """
        return await self._obtain(artifact.version.digest, partial(self._copy, artifact), Tier.DISK)

    async def remove(self, digest: Digest) -> bool:
        """Remove the entry; False where it is pinned, by any process, and so stays."""
        return await asyncio.to_thread(self._entries.remove, digest)

    async def unused(self, seconds: float) -> list[Digest]:
        """Return the entries that were neither pinned nor released for so long.

        One that has been pinned all that time is among them: `remove` leaves it.
        """
        return await asyncio.to_thread(self._entries.unused, seconds)

    async def _obtain(
        self, digest: Digest, bring: Callable[[], Awaitable[int | None]], brought: Tier
    ) -> Pin:
        path, tier = self._entries.path(digest), Tier.DISK
        for _ in range(_ATTEMPTS):
            lock = await self._lock(digest)
            if lock is None:
                tier = brought
                lock = await bring()
            if lock is not None:
                return Pin(path, tier, lock)
        if (lock := await self._lock(digest)) is not None:
            return Pin(path, tier, lock)
        raise AdapterCapacityExceeded("the disk cache is too small for what is being fetched")

    async def _lock(self, digest: Digest) -> int | None:
        """Return the lock of the entry, if it is there."""
        if not await self._has(digest):
            return None
        if (lock := self._entries.try_pin(digest)) is None:
            # A thread may just be looking whether it is pinned, which excludes pins.
            await asyncio.to_thread(self._entries.wait_for_change)
            lock = self._entries.try_pin(digest)
        return lock

    async def _has(self, digest: Digest) -> bool:
        """Tell whether the entry is there, whole and as it should be."""
        entries = self._entries
        if not entries.is_verified(digest) and entries.has(digest):
            await self._inspect(digest)
        return entries.is_verified(digest) and entries.has(digest)

    async def _inspect(self, digest: Digest) -> None:
        """Hash an entry that another process left; one that is wrong goes."""

        async def inspect() -> None:
            if await asyncio.to_thread(self._entries.discard_if_wrong, digest):
                self._on_refused("corrupt")

        await asyncio.shield(self._inspections.begin(digest, inspect))

    def _download(self, version: AdapterVersion, *, is_kept: bool) -> Awaitable[int | None]:
        fill = partial(self._downloader.download, version)
        return self._bring(version.digest, version.size_bytes, fill, is_kept=is_kept)

    def _copy(self, artifact: Artifact) -> Awaitable[int | None]:
        fill = partial(_copy_verified, artifact)
        return self._bring(artifact.version.digest, artifact.size_bytes, fill, is_kept=True)

    async def _bring(
        self,
        digest: Digest,
        size_bytes: int | None,
        fill: Callable[[Path], Awaitable[None]],
        *,
        is_kept: bool,
    ) -> int | None:
        """Make a directory, fill it and enter it; return its lock, see `Entries.enter`."""
        await self._expect_room(size_bytes)
        temp, lock = self._entries.temp(), None
        try:
            with entry.room_on_disk():
                await fill(temp)
                lock = await self._place(temp, digest, is_kept=is_kept)
        finally:
            if lock is None:  # else it has become the entry, and nothing may lose its lock
                await asyncio.to_thread(_clear, temp)
        return lock

    async def _expect_room(self, size_bytes: int | None) -> None:
        """Refuse what the pins leave no room for, before any work is done for it."""
        if size_bytes is not None and not self._entries.would_fit(size_bytes):
            await self._to_give_up(size_bytes)

    async def _place(self, temp: Path, digest: Digest, *, is_kept: bool) -> int | None:
        size = await finish(_start(_settle, temp), _keep_going)
        with suppress(NoRoom):
            return await self._enter(temp, digest, size, is_kept)
        async with self._making_room:  # one after the other: what is made for one is not taken
            for _ in range(_ROOM_ATTEMPTS):
                if digests := await self._to_give_up(size):
                    await self._give_up(digests)
                with suppress(NoRoom):
                    return await self._enter(temp, digest, size, is_kept)
        raise AdapterCapacityExceeded(_IN_USE)

    async def _enter(
        self, temp: Path, digest: Digest, size_bytes: int, is_kept: bool
    ) -> int | None:
        entering = _start(self._entries.enter, temp, digest, size_bytes, is_kept)
        try:
            return await finish(entering, _keep_going)
        except asyncio.CancelledError:
            entering.add_done_callback(_unlock)
            raise

    async def _to_give_up(self, size_bytes: int) -> list[Digest]:
        """Return which idle pins stand in the way.

        **Raises:** AdapterCapacityExceeded where others do as well.
        """
        while True:
            digests = await asyncio.to_thread(self._entries.choose, size_bytes, self._idle())
            if digests is not None:
                return digests
            if not (inspections := self._inspections.find(*self._entries.digests())):
                raise AdapterCapacityExceeded(_IN_USE)
            await asyncio.wait(inspections)  # they lock what they read


async def _keep(_: Collection[Digest]) -> None:
    """Where nothing is idle, nothing is asked for."""


def _start(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Task[T]:
    return asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))


def _keep_going() -> None:
    """What a thread does here is short, and not to be interrupted."""


def _unlock(entering: asyncio.Task[int | None]) -> None:
    if entering.cancelled() or entering.exception() is not None:
        return
    if (lock := entering.result()) is not None:
        entry.unlock(lock)


async def _copy_verified(artifact: Artifact, temp: Path) -> None:
    await finish(_start(_copy_files, artifact, temp), _keep_going)


def _copy_files(artifact: Artifact, temp: Path) -> None:
    temp.mkdir()
    for file in ARTIFACT_FILES:
        shutil.copyfile(artifact.directory / file, temp / file)
    if artifact_digest(temp) != artifact.version.digest:
        raise ObjectCorrupt(str(artifact.version.digest))


def _settle(temp: Path) -> int:
    """Make a directory durable, and return its bytes."""
    entry.sync(temp)
    return entry.size_bytes(temp)


def _clear(temp: Path) -> None:
    """Remove a directory that has not become an entry."""
    # Renamed first: the thread of a caller that was cancelled twice may still enter it, and only
    # one of the two renames can be done.
    with suppress(FileNotFoundError):
        shutil.rmtree(temp.rename(temp.with_suffix(".gone")), ignore_errors=True)
