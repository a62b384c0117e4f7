"""From an upload or a bucket directory to a checked artifact on local disk."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from adapters_registry.archive import extract
from adapters_registry.artifacts import ARTIFACT_FILES
from adapters_registry.entry import is_disk_full
from adapters_registry.errors import AdapterCapacityExceeded, StoreError
from adapters_registry.store import ObjectStore
from adapters_registry.threads import finish
from adapters_registry.types import Artifact
from adapters_registry.validation import canonicalise
from app.engine.base import Engine

T = TypeVar("T")

MAX_ROOMS = 4
"""How many adapters lie unpacked at once; each takes up to twice its size on local disk."""


class AdapterIntake:
    """Reads untrusted adapters from the store, with bounds, into directories that end with use.

    `foreign_bases` gives the names of the other models that are served beside a base model.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        work_dir: Path,
        max_bytes: int,
        foreign_bases: Callable[[str], Collection[str]],
    ) -> None:
        self._store = store
        self._work_dir = work_dir
        self._max_bytes = max_bytes
        self._foreign_bases = foreign_bases
        self._rooms = asyncio.Semaphore(MAX_ROOMS)

    @asynccontextmanager
    async def unzipped(self, key: str, engine: Engine) -> AsyncIterator[Artifact]:
        """Unpack and check the ZIP under a key.

        **Raises:** InvalidAdapter, StoreError, AdapterCapacityExceeded where the disk is full.
        """
        async with self._room() as room:
            archive = room / "upload.zip"
            directory = room / "adapter"
            with _disk_errors():
                await self._store.get(key, archive)
                await _in_thread(lambda: extract(archive, directory, max_bytes=self._max_bytes))
                archive.unlink()
                artifact = await self._checked(directory, engine)
            yield artifact

    @asynccontextmanager
    async def copied(self, prefix: str, engine: Engine) -> AsyncIterator[Artifact]:
        """Copy and check the two files under a prefix, whose sizes the caller has bounded.

        **Raises:** as `unzipped`.
        """
        async with self._room() as room:
            directory = room / "adapter"
            with _disk_errors():
                for file in ARTIFACT_FILES:
                    await self._store.get(prefix + file, directory / file)
                artifact = await self._checked(directory, engine)
            yield artifact

    async def _checked(self, directory: Path, engine: Engine) -> Artifact:
        host, base_model = engine.adapters, engine.card.id
        assert host is not None, "a model that takes adapters"
        return await _in_thread(
            lambda: canonicalise(
                directory,
                base_model=base_model,
                shapes=host.shapes,
                ranks=host.ranks,
                foreign_bases=self._foreign_bases(base_model),
            )
        )

    @asynccontextmanager
    async def _room(self) -> AsyncIterator[Path]:
        async with self._rooms:
            room = self._work_dir / uuid4().hex
            try:
                # A cancelled caller waits for the thread: it must not make what is removed by then.
                await _in_thread(lambda: _make(room))
                yield room
            finally:
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, room, ignore_errors=True))


def _make(room: Path) -> None:
    room.mkdir(mode=0o700)
    (room / "adapter").mkdir()


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except (OSError, StoreError) as error:
        if is_disk_full(error):
            raise AdapterCapacityExceeded("the disk for unpacking is full") from error
        raise


async def _in_thread(work: Callable[[], T]) -> T:
    """Run it; a cancelled caller waits for the thread, which still writes into the room."""
    return await finish(asyncio.ensure_future(asyncio.to_thread(work)), lambda: None)
