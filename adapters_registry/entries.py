"""The directory of the disk cache: who is in it, who may come in, who has to go. All of it blocks.

An entry appears and goes by one rename: it is whole or not there. A pin is a shared `flock` on the
entry's directory and removal takes the exclusive one, so no process can remove what another reads,
and the pins of a dead process end with it. Refused: more bytes than the budget, and removing what
is pinned.
"""

import errno
import os
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple
from uuid import uuid4

from adapters_registry import entry
from adapters_registry.digest import artifact_digest
from adapters_registry.errors import ObjectCorrupt
from adapters_registry.types import Digest

_DIGEST = re.compile(r"[0-9a-f]{64}")
_ALREADY_THERE = (errno.ENOTEMPTY, errno.EEXIST)


class NoRoom(Exception):
    """The bytes that are pinned, and those asked for, are more than the budget."""


class _Entry(NamedTuple):
    used_at_ns: int
    path: Path
    size_bytes: int

    def is_free(self) -> bool:
        """Tell whether nobody has it pinned. At the moment of looking nobody can pin it."""
        if (lock := entry.try_lock(self.path, entry.EXCLUSIVE)) is not None:
            entry.unlock(lock)
        return lock is not None


class Entries:
    """The entries under one root, of this process and of others. Its methods are thread-safe.

    `evictions` counts what this process has removed to make room.
    """

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        self.root = root.absolute()
        self._temp_root = self.root / "tmp"
        self.max_bytes = max_bytes
        self._used_bytes = 0
        self.evictions = 0
        self._verified: set[Digest] = set()
        self._changing = threading.Lock()
        self._session: tuple[Path, int] | None = None

    @property
    def used_bytes(self) -> int:
        """Bytes of all entries, as of the last change that this process made."""
        return self._used_bytes

    def open(self) -> None:
        """Remove what crashed processes left, and meet the budget."""
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
        for found in self._find():
            if not entry.is_whole(found.path):
                self._discard(found.path)
        with self._changing:
            self._evict(self._survey(), self._used_bytes - self.max_bytes)

    def close(self) -> None:
        """Remove this process's temporary files; entries and pins stay."""
        if self._session is not None:
            path, lock = self._session
            self._session = None
            shutil.rmtree(path, ignore_errors=True)
            entry.unlock(lock)

    def path(self, digest: Digest) -> Path:
        """Return where the entry is, or would be. **Raises:** ValueError."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError("not a digest")
        return self.root / digest

    def temp(self) -> Path:
        """Return a new name for a directory that may be entered. **Raises:** RuntimeError."""
        if self._session is None:
            raise RuntimeError("the disk cache is not open")
        return self._session[0] / uuid4().hex

    def digests(self) -> list[Digest]:
        """Return the names of all entries."""
        return [Digest(name) for name in os.listdir(self.root) if _DIGEST.fullmatch(name)]

    def has(self, digest: Digest) -> bool:
        """Tell whether the entry is there, whole."""
        return entry.is_whole(self.path(digest))

    def is_verified(self, digest: Digest) -> bool:
        """Tell whether this process has seen that the entry's bytes are those of its name."""
        return digest in self._verified

    def would_fit(self, size_bytes: int) -> bool:
        """Tell whether there is room with all that is here; blocks on nothing."""
        return self._used_bytes + size_bytes <= self.max_bytes

    def touch(self, digest: Digest) -> None:
        """Make the entry the most recently used one."""
        with suppress(FileNotFoundError):
            os.utime(self.path(digest))

    def try_pin(self, digest: Digest) -> int | None:
        """Return a lock that keeps the entry whole; None where it is missing or going.

        Some system calls on a local directory: a thread would cost more, and a cancelled caller
        could lose the descriptor that it returns.
        """
        path = self.path(digest)
        if (lock := entry.try_lock(path, entry.SHARED)) is None:
            return None
        if not entry.is_whole(path):
            entry.unlock(lock)
            return None
        os.utime(lock)
        return lock

    def wait_for_change(self) -> None:
        """Return when no other thread looks for room, or makes it."""
        with self._changing:
            return

    def enter(self, temp: Path, digest: Digest, size_bytes: int, is_kept: bool) -> int | None:
        """Make a verified directory the entry, unless another was faster.

        Returns the lock that pins it, if it `is_kept` and was the faster one. **Raises:** NoRoom.
        """
        # Locked before it has its name: nothing can remove it in between.
        lock = entry.try_lock(temp, entry.SHARED) if is_kept else None
        is_in = False
        try:
            with self._changing:
                is_renamed = self._rename_in(temp, digest, size_bytes)
            entry.sync_names(self.root)
            is_in = is_renamed
        finally:
            if lock is not None and not is_in:
                entry.unlock(lock)
        return lock if is_in else None

    def choose(self, needed_bytes: int, idle: Iterable[Digest]) -> list[Digest] | None:
        """Return the first of these pinned entries, so many that room could be made without them.

        None where all of them are not enough.
        """
        with self._changing:
            entries = self._survey()
            pinned = {each.path.name: each.size_bytes for each in entries if not each.is_free()}
        excess = needed_bytes + sum(pinned.values()) - self.max_bytes
        chosen = []
        for digest in idle:
            if excess > 0 and digest in pinned:
                excess -= pinned.pop(digest)
                chosen.append(digest)
        return chosen if excess <= 0 else None

    def remove(self, digest: Digest) -> bool:
        """Remove the entry; False where it is pinned, and so stays."""
        path = self.path(digest)
        with self._changing:
            size = entry.size_bytes(path)
            if self._discard(path):
                self._used_bytes -= size
            return not path.exists()

    def unused(self, seconds: float) -> list[Digest]:
        """Return the whole entries that were neither pinned nor released for so long."""
        before_ns = time.time_ns() - int(seconds * 1e9)
        old = [found.path for found in self._find() if found.used_at_ns < before_ns]
        return [Digest(path.name) for path in old if entry.is_whole(path)]

    def discard_if_wrong(self, digest: Digest) -> bool:
        """Hash the entry, and remove it if it is wrong. **Raises:** ObjectCorrupt if pinned."""
        path = self.path(digest)
        if (lock := entry.try_lock(path, entry.SHARED)) is None:
            return False
        try:
            with suppress(OSError):  # a file that is gone or cannot be read is wrong as well
                if artifact_digest(path) == digest:
                    self._verified.add(digest)
                    return False
        finally:
            entry.unlock(lock)
        if not self.remove(digest):
            raise ObjectCorrupt(str(digest))
        return True

    def _rename_in(self, temp: Path, digest: Digest, size_bytes: int) -> bool:
        path = self.path(digest)
        if entry.is_whole(path):
            return False
        self._discard(path)
        if not self._make_room(size_bytes):
            raise NoRoom
        os.utime(temp)
        try:
            temp.rename(path)
        except OSError as error:  # another process may have been faster since
            if error.errno not in _ALREADY_THERE:
                raise
            return False
        self._used_bytes += size_bytes
        self._verified.add(digest)
        return True

    def _find(self) -> Iterator[_Entry]:
        for path in self.root.iterdir():
            if _DIGEST.fullmatch(path.name):
                with suppress(FileNotFoundError):  # another process removed it
                    yield _Entry(path.stat().st_mtime_ns, path, entry.size_bytes(path))

    def _survey(self) -> list[_Entry]:
        """Return the entries, least recently used first, and take note of their bytes."""
        entries = sorted(self._find())
        self._used_bytes = sum(found.size_bytes for found in entries)
        return entries

    def _make_room(self, needed_bytes: int) -> bool:
        """Discard old unpinned entries until so many bytes fit; none where they cannot."""
        entries = self._survey()
        excess = self._used_bytes + needed_bytes - self.max_bytes
        if excess > 0 and excess > sum(each.size_bytes for each in entries if each.is_free()):
            return False
        return self._evict(entries, excess) <= 0

    def _evict(self, entries: Iterable[_Entry], excess: int) -> int:
        """Discard until the excess of bytes is gone, and return what is left of it."""
        for found in entries:
            if excess <= 0:
                break
            if self._discard(found.path):
                self._used_bytes -= found.size_bytes
                self.evictions += 1
                excess -= found.size_bytes
        return excess

    def _discard(self, path: Path) -> bool:
        """Remove an entry unless it is pinned; it leaves its name whole, at once."""
        if (lock := entry.try_lock(path, entry.EXCLUSIVE)) is None:
            return False
        try:
            self._verified.discard(Digest(path.name))
            doomed = path.rename(self.temp())
        finally:
            entry.unlock(lock)
        shutil.rmtree(doomed, ignore_errors=True)
        return True
