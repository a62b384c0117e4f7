"""Verified artifacts on local disk, `<root>/<digest>/`, within a budget of bytes.

The directory itself is the only state, so a crash loses nothing and processes may share it. An
entry appears and goes by one rename: it is whole or not there. A pin is a shared `flock` on the
entry's directory and removal takes the exclusive one, so no process can remove what another reads,
and the pins of a dead process end with it. `root` must be on a local file system. Refused: an entry
whose bytes do not have the digest that names it. They are hashed when they come, and once more at
the first use of an entry that another process left.
"""

import asyncio
import errno
import os
import re
import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple, Self
from uuid import uuid4

from adapters_registry import entry
from adapters_registry.artifacts import ARTIFACT_FILES
from adapters_registry.digest import artifact_digest
from adapters_registry.download import DEFAULT_RETRIES, Downloader, OnRefused, Retries, ignore
from adapters_registry.errors import AdapterCapacityExceeded, ObjectCorrupt
from adapters_registry.store import ObjectStore
from adapters_registry.tasks import SharedTasks
from adapters_registry.types import AdapterVersion, Artifact, Digest, Tier

_DIGEST = re.compile(r"[0-9a-f]{64}")
_ALREADY_THERE = (errno.ENOTEMPTY, errno.EEXIST)
_ATTEMPTS = 3


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
        self._root = root.absolute()
        self._temp_root = self._root / "tmp"
        self._downloader = Downloader(store, retries=retries, on_refused=on_refused)
        self._on_refused = on_refused
        self._inspections = SharedTasks()
        self._verified: set[Digest] = set()
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._changing = threading.Lock()
        self._session: tuple[Path, int] | None = None

    @property
    def used_bytes(self) -> int:
        """Bytes of all entries, as of the last change that this process made."""
        return self._used_bytes

    async def open(self) -> None:
        """Remove what crashed processes left, adopt whole entries and meet the budget.

        The store is not asked: what is on disk is served while the store is down.
        """
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Remove this process's temporary files; entries and pins stay."""
        await self._inspections.close()
        if self._session is not None:
            path, lock = self._session
            self._session = None
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
            entry.unlock(lock)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def fetch(self, version: AdapterVersion) -> Pin:
        """Return the version's pinned directory, downloaded and verified where it is missing.

        The pin is the caller's to release. Cancelling keeps nothing half done. Concurrent calls
        for one digest each download; single flight is the registry's.

        **Raises:** ObjectNotFound, ObjectCorrupt, StoreUnavailable; AdapterCapacityExceeded where
        the budget is pinned or the disk is full.
        """
        return await self._obtain(version.digest, partial(self._download, version), Tier.STORE)

    async def add(self, artifact: Artifact) -> Pin:
        """Copy a validated artifact in and pin it, so that its first lease needs no download.

        **Raises:** ObjectCorrupt, AdapterCapacityExceeded.
        """
        copy = partial(asyncio.to_thread, self._add, artifact)
        return await self._obtain(artifact.version.digest, copy, Tier.DISK)

    async def remove(self, digest: Digest) -> bool:
        """Remove the entry; False where it is pinned, by any process, and so stays."""
        return await asyncio.to_thread(self._remove, digest)

    async def unused(self, seconds: float) -> list[Digest]:
        """Return the entries that were neither pinned nor released for so long.

        One that has been pinned all that time is among them: `remove` leaves it.
        """
        return await asyncio.to_thread(self._unused, seconds)

    async def _obtain(
        self, digest: Digest, bring: Callable[[], Awaitable[None]], brought: Tier
    ) -> Pin:
        path, tier = self._path(digest), Tier.DISK
        for _ in range(_ATTEMPTS):
            if digest not in self._verified and entry.is_whole(path):
                await self._inspect(digest)
            # Some system calls on a local directory: a thread would cost more, and a cancelled
            # caller could lose the descriptor that it returns.
            if digest in self._verified and (pin := _pin(path, tier)) is not None:
                return pin
            await bring()
            tier = brought
        raise AdapterCapacityExceeded("the disk cache is too small for what is being fetched")

    async def _inspect(self, digest: Digest) -> None:
        """Hash an entry that another process left; one that is wrong goes."""

        async def inspect() -> None:
            if await asyncio.to_thread(self._discard_if_wrong, digest):
                self._on_refused("corrupt")

        await asyncio.shield(self._inspections.begin(digest, inspect))

    def _open(self) -> None:
        self._temp_root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with entry.exclusive(self._temp_root):
            for stale in self._temp_root.iterdir():
                if (lock := entry.try_lock(stale, entry.EXCLUSIVE)) is not None:
                    shutil.rmtree(stale)
                    entry.unlock(lock)
            session = Path(mkdtemp(dir=self._temp_root))
            lock = entry.try_lock(session, entry.EXCLUSIVE)
        assert lock is not None, "made just now, under a lock"
        self._session = session, lock
        for found in self._entries():
            if not entry.is_whole(found.path):
                self._discard(found.path)
        with self._changing:
            self._make_room(0)

    def _path(self, digest: Digest) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ValueError("not a digest")
        return self._root / digest

    def _temp(self) -> Path:
        if self._session is None:
            raise RuntimeError("the disk cache is not open")
        return self._session[0] / uuid4().hex

    async def _download(self, version: AdapterVersion) -> None:
        temp = self._temp()
        try:
            await self._downloader.download(version, temp)
            with entry.room_on_disk():
                await asyncio.to_thread(self._place, temp, version.digest)
        finally:
            await asyncio.to_thread(shutil.rmtree, temp, ignore_errors=True)

    def _add(self, artifact: Artifact) -> None:
        digest, temp = artifact.version.digest, self._temp()
        try:
            with entry.room_on_disk():
                temp.mkdir()
                for file in ARTIFACT_FILES:
                    shutil.copyfile(artifact.directory / file, temp / file)
                if artifact_digest(temp) != digest:
                    raise ObjectCorrupt(str(digest))
                self._place(temp, digest)
        finally:
            shutil.rmtree(temp, ignore_errors=True)

    def _place(self, temp: Path, digest: Digest) -> None:
        """Make a verified directory the entry, or leave the entry that won the race."""
        # Under a name of its own first: the clean-up of a cancelled caller, which may run while
        # this thread does, then finds nothing to take away.
        whole = temp.rename(temp.with_suffix(".whole"))
        try:
            entry.sync(whole)
            self._enter(whole, digest)
        finally:
            shutil.rmtree(whole, ignore_errors=True)

    def _enter(self, whole: Path, digest: Digest) -> None:
        path, size = self._path(digest), entry.size_bytes(whole)
        with self._changing:
            if entry.is_whole(path):
                return
            self._discard(path)
            if not self._make_room(size):
                raise AdapterCapacityExceeded("the byte budget of the disk cache is in use")
            try:
                whole.rename(path)
            except OSError as error:  # another process may have been faster since
                if error.errno not in _ALREADY_THERE:
                    raise
                return
            self._used_bytes += size
            self._verified.add(digest)
        entry.sync_names(self._root)

    def _discard_if_wrong(self, digest: Digest) -> bool:
        path = self._path(digest)
        if (lock := entry.try_lock(path, entry.SHARED)) is None:
            return False
        try:
            with suppress(OSError):  # a file that is gone or cannot be read is wrong as well
                if artifact_digest(path) == digest:
                    self._verified.add(digest)
                    return False
        finally:
            entry.unlock(lock)
        if not self._remove(digest):
            raise ObjectCorrupt(str(digest))
        return True

    def _remove(self, digest: Digest) -> bool:
        path = self._path(digest)
        with self._changing:
            size = entry.size_bytes(path)
            if self._discard(path):
                self._used_bytes -= size
            return not path.exists()

    def _unused(self, seconds: float) -> list[Digest]:
        before_ns = time.time_ns() - int(seconds * 1e9)
        old = [found.path for found in self._entries() if found.used_at_ns < before_ns]
        return [Digest(path.name) for path in old if entry.is_whole(path)]

    def _entries(self) -> "Iterator[_Entry]":
        for path in self._root.iterdir():
            if _DIGEST.fullmatch(path.name):
                with suppress(FileNotFoundError):  # another process removed it
                    yield _Entry(path.stat().st_mtime_ns, path, entry.size_bytes(path))

    def _make_room(self, needed_bytes: int) -> bool:
        """Discard old unpinned entries until so many bytes fit; False where they cannot."""
        entries = sorted(self._entries())
        self._used_bytes = sum(found.size_bytes for found in entries)
        if needed_bytes > self._max_bytes:
            return False
        for found in entries:
            if self._used_bytes + needed_bytes <= self._max_bytes:
                break
            if self._discard(found.path):
                self._used_bytes -= found.size_bytes
        return self._used_bytes + needed_bytes <= self._max_bytes

    def _discard(self, path: Path) -> bool:
        """Remove an entry unless it is pinned; it leaves its name whole, at once."""
        lock = entry.try_lock(path, entry.EXCLUSIVE)
        if lock is None:
            return False
        try:
            self._verified.discard(Digest(path.name))
            doomed = path.rename(self._temp())
        finally:
            entry.unlock(lock)
        shutil.rmtree(doomed, ignore_errors=True)
        return True


class _Entry(NamedTuple):
    used_at_ns: int
    path: Path
    size_bytes: int


def _pin(path: Path, tier: Tier) -> Pin | None:
    lock = entry.try_lock(path, entry.SHARED)
    if lock is None:
        return None
    if not entry.is_whole(path):
        entry.unlock(lock)
        return None
    os.utime(lock)
    return Pin(path, tier, lock)
