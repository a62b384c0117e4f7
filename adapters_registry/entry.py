"""One artifact directory on disk: is it whole, how big, durable, who may change it, is there room.

Locks are `flock`s on the directory itself, so they follow it when it is renamed and end with the
process that holds them. Nothing here waits for another's lock but `exclusive`.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters_registry.artifacts import ARTIFACT_FILES
from adapters_registry.errors import AdapterCapacityExceeded, StoreError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

SHARED = fcntl.LOCK_SH
EXCLUSIVE = fcntl.LOCK_EX


def try_lock(directory: Path, kind: int) -> int | None:
    """Return the descriptor of the locked directory; None where it is missing or another's."""
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
        # Between open and flock the directory may have been renamed away, to be deleted.
        if os.path.samestat(os.fstat(lock), directory.stat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    unlock(lock)
    return None


def unlock(lock: int) -> None:
    """Give a lock back, also where a forked child holds a copy of the descriptor."""
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold the directory's lock for a block; waits for it."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, EXCLUSIVE)
        yield
    finally:
        unlock(lock)


def is_whole(directory: Path) -> bool:
    """Tell whether all files of an artifact are there."""
    return all((directory / file).is_file() for file in ARTIFACT_FILES)


def size_bytes(directory: Path) -> int:
    """Return the bytes of the directory's files; 0 where it is missing or being removed."""
    try:
        with os.scandir(directory) as files:
            return sum(file.stat().st_size for file in files)
    except FileNotFoundError:
        return 0


@contextmanager
def room_on_disk() -> Iterator[None]:
    """Tell a full disk from every other failure of a block. **Raises:** AdapterCapacityExceeded."""
    try:
        yield
    except (OSError, StoreError) as error:
        if is_disk_full(error):
            raise AdapterCapacityExceeded("the disk of the adapter cache is full") from error
        raise


def is_disk_full(error: BaseException | None) -> bool:
    """Tell whether a full disk is the error or a cause of it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            return True
        error = error.__cause__
    return False


def sync(directory: Path) -> None:
    """Make the directory's files and their names durable."""
    for file in directory.iterdir():
        _sync_path(file)
    _sync_path(directory)


def sync_names(directory: Path) -> None:
    """Make renames into and out of the directory durable."""
    _sync_path(directory)


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
