"""Verified artifacts on local disk, `<root>/<digest>/`, within a budget of bytes.

The directory itself is the only state, so a crash loses nothing and processes may share it. An
entry appears and goes by one rename: it is whole or not there. A pin is a shared `flock` on the
entry's directory and removal takes the exclusive one, so no process can remove what another reads,
and the pins of a dead process end with it. `root` must be on a local file system. Refused: an entry
whose bytes do not have the digest that names it.
"""

import asyncio
import errno
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple, Self
from uuid import uuid4

from adapters_registry import entry
from adapters_registry.artifacts import ARTIFACT_FILES, artifact_key
from adapters_registry.digest import artifact_digest
from adapters_registry.errors import AdapterCapacityExceeded, ObjectCorrupt, StoreError
from adapters_registry.store import ObjectStore
from adapters_registry.types import Artifact, Digest, Tier

_DIGEST = re.compile(r"[0-9a-f]{64}")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_ALREADY_THERE = (errno.ENOTEMPTY, errno.EEXIST)
_FETCH_ATTEMPTS = 3


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
    """Content-addressed directories, removed least recently used first, never while pinned."""

    def __init__(self, root: Path, store: ObjectStore, *, max_bytes: int) -> None:
        self._root = root.absolute()
        self._temp_root = self._root / "tmp"
        self._store = store
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._changing = threading.Lock()
        self._session: tuple[Path, int] | None = None

    @property
    def used_bytes(self) -> int:
        """Bytes of all entries, as of the last change that this process made."""
        return self._used_bytes

    async def open(self) -> None:
        """Remove what crashed processes left, adopt whole entries and meet the budget."""
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Remove this process's temporary files; entries and pins stay."""
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

    async def fetch(self, digest: Digest) -> Pin:
        """Return the artifact's pinned directory, downloaded and verified where it is missing.

        The pin is the caller's to release. Cancelling keeps nothing half done. Concurrent calls
        for one digest each download; single flight is the registry's.

        **Raises:** ObjectNotFound, ObjectCorrupt, StoreUnavailable; AdapterCapacityExceeded where
        the budget is pinned or the disk is full.
        """
        tier = Tier.DISK
        for _ in range(_FETCH_ATTEMPTS):
            # Some system calls on a local directory: a thread would cost more, and a cancelled
            # caller could lose the descriptor that it returns.
            if (pin := self._pin(digest, tier)) is not None:
                return pin
            await self._download(digest)
            tier = Tier.STORE
        raise AdapterCapacityExceeded("the disk cache is too small for what is being fetched")

    async def add(self, artifact: Artifact) -> None:
        """Copy a validated artifact in, so that its first lease needs no download.

        **Raises:** ObjectCorrupt, AdapterCapacityExceeded.
        """
        await asyncio.to_thread(self._add, artifact)

    async def remove(self, digest: Digest) -> bool:
        """Remove the entry; False where it is pinned, by any process, and so stays."""
        return await asyncio.to_thread(self._remove, digest)

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

    def _pin(self, digest: Digest, tier: Tier) -> Pin | None:
        path = self._path(digest)
        lock = entry.try_lock(path, entry.SHARED)
        if lock is None:
            return None
        if not entry.is_whole(path):
            entry.unlock(lock)
            return None
        os.utime(lock)
        return Pin(path, tier, lock)

    async def _download(self, digest: Digest) -> None:
        temp = self._temp()
        try:
            await asyncio.to_thread(temp.mkdir)
            await self._get_files(digest, temp)
            await asyncio.to_thread(self._place, temp, digest)
        except (OSError, StoreError) as error:
            if _is_disk_full(error):
                raise AdapterCapacityExceeded("the disk of the adapter cache is full") from error
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, temp, ignore_errors=True)

    async def _get_files(self, digest: Digest, temp: Path) -> None:
        gets = [
            asyncio.ensure_future(self._store.get(artifact_key(digest, file), temp / file))
            for file in ARTIFACT_FILES
        ]
        try:
            await asyncio.gather(*gets)
        finally:
            for get in gets:
                get.cancel()
            await asyncio.wait(gets)

    def _add(self, artifact: Artifact) -> None:
        digest = artifact.version.digest
        if entry.is_whole(self._path(digest)):
            return
        temp = self._temp()
        try:
            temp.mkdir()
            for file in ARTIFACT_FILES:
                shutil.copyfile(artifact.directory / file, temp / file)
            self._place(temp, digest)
        except OSError as error:
            if _is_disk_full(error):
                raise AdapterCapacityExceeded("the disk of the adapter cache is full") from error
            raise
        finally:
            shutil.rmtree(temp, ignore_errors=True)

    def _place(self, temp: Path, digest: Digest) -> None:
        """Verify a directory and make it the entry, or leave the entry that won the race."""
        # Under a name of its own first: the clean-up of a cancelled caller, which may run while
        # this thread does, then finds nothing to take away.
        whole = temp.rename(temp.with_suffix(".whole"))
        try:
            if artifact_digest(whole) != digest:
                raise ObjectCorrupt(f"artifacts/{digest}/")
            entry.sync(whole)
            self._enter(whole, self._path(digest))
        finally:
            shutil.rmtree(whole, ignore_errors=True)

    def _enter(self, whole: Path, path: Path) -> None:
        size = entry.size_bytes(whole)
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
        entry.sync_names(self._root)

    def _remove(self, digest: Digest) -> bool:
        path = self._path(digest)
        with self._changing:
            size = entry.size_bytes(path)
            if self._discard(path):
                self._used_bytes -= size
            return not path.exists()

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
            doomed = path.rename(self._temp())
        finally:
            entry.unlock(lock)
        shutil.rmtree(doomed, ignore_errors=True)
        return True


class _Entry(NamedTuple):
    used_at_ns: int
    path: Path
    size_bytes: int


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            return True
        error = error.__cause__
    return False
