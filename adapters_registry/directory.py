"""An object store in a local directory, for one machine: the embedded default and the tests.

Objects are plain files below `root`. A new object is written beside them under a name that no key
can have, made durable, and renamed into place. Nothing outside `root` is read or written.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO
from uuid import uuid4

from adapters_registry.errors import ObjectNotFound, StoreUnavailable
from adapters_registry.store import ObjectWriter, check_key, check_prefix, check_range, is_key
from adapters_registry.threads import finish
from adapters_registry.types import ObjectInfo

_INCOMING = "~incoming"  # `~` is in no key
_COPY_BYTES = 1 << 20
_NO_OBJECT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class DirectoryStore:
    """An ObjectStore whose objects are files below `root`.

    `root` is made here if it is missing. Later it must be there: one that has gone is a volume that
    is not mounted, and not an empty store.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        with suppress(OSError):  # each call tells
            self._root.mkdir(parents=True, exist_ok=True)

    async def put(self, key: str, source: Path) -> None:
        target = self._path(key)
        await _in_thread(partial(self._put, target, source))

    async def get(self, key: str, destination: Path) -> None:
        path = self._path(key)
        with _root_must_be_there(self._root):
            await _in_thread(partial(_get, key, path, destination))

    @asynccontextmanager
    async def writer(self, key: str) -> AsyncIterator[ObjectWriter]:
        new = _NewFile(self._root, self._path(key))
        try:
            yield _Writer(new)
        finally:
            if not new.is_committed:
                await finish(asyncio.ensure_future(asyncio.to_thread(new.close)), lambda: None)

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None, chunk_bytes: int = 1 << 20
    ) -> AsyncIterator[bytes]:
        path = self._path(key)
        check_range(start, length)
        with _root_must_be_there(self._root):
            file = await _opened(key, path, start)
        missing = sys.maxsize if length is None else length
        try:
            while chunk := await asyncio.to_thread(_read, file, min(chunk_bytes, missing)):
                missing -= len(chunk)
                yield chunk
        finally:
            await finish(asyncio.ensure_future(asyncio.to_thread(file.close)), lambda: None)

    async def delete(self, key: str) -> None:
        deletion = asyncio.to_thread(self._delete, self._path(key))
        await finish(asyncio.ensure_future(deletion), lambda: None)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        top = self._root / check_prefix(prefix)
        found = await asyncio.to_thread(_scan, top, prefix)
        await asyncio.to_thread(_require, self._root)
        for info in found:
            yield info

    async def tidy(self, older_than_seconds: float) -> None:
        await asyncio.to_thread(self._tidy, time.time() - older_than_seconds)

    async def check(self) -> None:
        await asyncio.to_thread(self._check)

    async def close(self) -> None:
        """Nothing is held between calls."""

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _put(self, target: Path, source: Path, stop: threading.Event) -> None:
        with source.open("rb") as reader, closing(_NewFile(self._root, target)) as new:
            while not stop.is_set() and (chunk := reader.read(_COPY_BYTES)):
                new.write(chunk)
            if not stop.is_set():
                new.commit()

    def _tidy(self, oldest: float) -> None:
        with _as_unavailable(), suppress(FileNotFoundError):
            for file in (self._root / _INCOMING).iterdir():
                with suppress(FileNotFoundError):
                    if file.stat().st_mtime < oldest:
                        file.unlink()
        _require(self._root)

    def _delete(self, path: Path) -> None:
        with _as_unavailable():
            try:
                path.unlink()
            except _NO_OBJECT:
                return
            self._leave(path.parent)

    def _leave(self, directory: Path) -> None:
        """Remove an emptied directory, unless it is of the first level, where others write."""
        if directory.parent != self._root and directory != self._root:
            with suppress(OSError):  # not empty
                directory.rmdir()
                directory = directory.parent
        with suppress(FileNotFoundError):  # another deletion has removed it, and made that durable
            _sync_directory(directory)

    def _check(self) -> None:
        with _as_unavailable():
            probe = self._root / _INCOMING / uuid4().hex
            probe.parent.mkdir(exist_ok=True)
            probe.touch()
            probe.unlink()


class _NewFile:
    """A file on its way into the store; its methods block, and may meet in several threads."""

    def __init__(self, root: Path, target: Path) -> None:
        self._incoming = root / _INCOMING
        self._temporary = self._incoming / uuid4().hex
        self._target = target
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._is_closed = False
        self.is_committed = False

    def write(self, data: bytes) -> None:
        with self._usable() as file:
            file.write(data)

    def commit(self) -> None:
        with self._usable() as file:
            file.flush()
            os.fsync(file.fileno())
            _make_parents(self._target.parent)
            self._temporary.replace(self._target)
            _sync_directory(self._target.parent)
            self._end()
            self.is_committed = True

    def close(self) -> None:
        """Remove it unless it was committed."""
        with self._lock, _as_unavailable():
            self._end()

    @contextmanager
    def _usable(self) -> Iterator[IO[bytes]]:
        """Open it at the first use; after a failure nothing more is done."""
        with self._lock, _as_unavailable():
            if self._is_closed:
                raise StoreUnavailable("the object was given up")
            try:
                if self._file is None:
                    self._incoming.mkdir(exist_ok=True)
                    self._file = self._temporary.open("xb")
                yield self._file
            except BaseException:
                self._end()
                raise

    def _end(self) -> None:
        self._is_closed = True
        if self._file is not None:
            with suppress(OSError):  # what it could not write is not wanted any more
                self._file.close()
            self._temporary.unlink(missing_ok=True)


class _Writer:
    """An ObjectWriter into a new file."""

    def __init__(self, new: _NewFile) -> None:
        self._new = new

    async def write(self, data: bytes) -> None:
        await _in_thread(lambda _: self._new.write(data))

    async def commit(self) -> None:
        await _in_thread(lambda _: self._new.commit())


def _require(root: Path) -> None:
    """Return if the root is there. **Raises:** StoreUnavailable."""
    if not root.is_dir():
        raise StoreUnavailable("the store's directory is gone")


@contextmanager
def _root_must_be_there(root: Path) -> Iterator[None]:
    try:
        yield
    except ObjectNotFound:
        _require(root)
        raise


async def _in_thread(work: Callable[[threading.Event], None]) -> None:
    stop = threading.Event()
    await finish(asyncio.ensure_future(asyncio.to_thread(work, stop)), stop.set)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable("the store's directory cannot be used") from error


def _open(key: str, path: Path, start: int = 0) -> IO[bytes]:
    with _as_unavailable():
        try:
            file = path.open("rb")
        except _NO_OBJECT as error:
            raise ObjectNotFound(key) from error
        if start:
            file.seek(min(start, os.fstat(file.fileno()).st_size))
        return file


async def _opened(key: str, path: Path, start: int) -> IO[bytes]:
    opening = asyncio.ensure_future(asyncio.to_thread(_open, key, path, start))
    try:
        return await finish(opening, lambda: None)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_unread)
        raise


def _close_unread(opening: "asyncio.Future[IO[bytes]]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _read(file: IO[bytes], size: int) -> bytes:
    with _as_unavailable():
        return file.read(size)


def _get(key: str, path: Path, destination: Path, stop: threading.Event) -> None:
    with _open(key, path) as reader, _as_unavailable():
        partial_copy = destination.with_name(f"{destination.name}.{uuid4().hex}.part")
        _copy(reader, partial_copy, destination, stop)


def _copy(reader: IO[bytes], temporary: Path, target: Path, stop: threading.Event) -> None:
    """Copy in chunks, then rename; `stop` ends it before the rename and leaves nothing behind."""
    try:
        with temporary.open("xb") as writer:
            while not stop.is_set() and (chunk := reader.read(_COPY_BYTES)):
                writer.write(chunk)
        if not stop.is_set():
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _make_parents(directory: Path) -> None:
    """Like mkdir(parents=True), but each new directory is durable in its parent."""
    if not directory.is_dir():
        _make_parents(directory.parent)
        directory.mkdir(exist_ok=True)
        _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sort_name(entry: "os.DirEntry[str]") -> str:
    """Name a directory with its `/`, which is what makes names sort in key order."""
    return entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name


def _scan(directory: Path, prefix: str) -> list[ObjectInfo]:
    with _as_unavailable():
        try:
            entries = [(_sort_name(entry), entry) for entry in os.scandir(directory)]
        except _NO_OBJECT:
            return []
        found: list[ObjectInfo] = []
        for name, entry in sorted(entries, key=lambda pair: pair[0]):
            if name.endswith("/"):
                found += _scan(directory / entry.name, prefix + name)
            elif is_key(prefix + name) and entry.is_file():
                found += _info(entry, prefix + name)
        return found


def _info(entry: "os.DirEntry[str]", key: str) -> list[ObjectInfo]:
    try:
        stat = entry.stat()
    except FileNotFoundError:  # deleted since the directory was read
        return []
    return [ObjectInfo(key, stat.st_size, f"{stat.st_ino:x}-{stat.st_mtime_ns:x}")]
