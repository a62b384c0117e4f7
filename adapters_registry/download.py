"""Bringing an artifact from the object store to a local directory: verified, with retries.

A copy that is corrupt, or a store that fails, is tried again after a growing delay. What failed to
the end is not asked for again for a short while, so that many requests for a broken adapter do not
download it each time; a missing one is asked for anew by every call, since it may be there by then.
Refused: bytes that do not have the digest that names them.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adapters_registry import entry
from adapters_registry.artifacts import ARTIFACT_FILES, ARTIFACTS, artifact_key
from adapters_registry.digest import artifact_digest
from adapters_registry.errors import (
    ObjectCorrupt,
    ObjectNotFound,
    StoreError,
    StoreUnavailable,
)
from adapters_registry.store import ObjectStore
from adapters_registry.types import AdapterVersion

RefusalReason = Literal["corrupt", "missing", "unavailable"]
OnRefused = Callable[[RefusalReason], object]


@dataclass(frozen=True, slots=True)
class Retries:
    """When a failed download is tried again; a delay is cut by up to half, at random.

    No attempt begins after `deadline_seconds`. After the last one the artifact is left alone for
    `pause_seconds`; where its bytes were wrong, twice as long each time, up to `max_pause_seconds`.
    """

    attempts: int = 3
    delay_seconds: float = 0.5
    deadline_seconds: float = 30.0
    pause_seconds: float = 5.0
    max_pause_seconds: float = 60.0


DEFAULT_RETRIES = Retries()


@dataclass(frozen=True, slots=True)
class _Failure:
    error: StoreError
    until: float
    pause_seconds: float


def ignore(_: RefusalReason) -> None:
    """Count nothing."""


class Downloader:
    """Downloads from one store. `on_refused` is called once for each attempt that fails."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        retries: Retries = DEFAULT_RETRIES,
        on_refused: OnRefused = ignore,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._retries = retries
        self._on_refused = on_refused
        self._clock = clock
        self._sleep = sleep
        self._failures: dict[str, _Failure] = {}

    async def download(self, version: AdapterVersion, directory: Path) -> None:
        """Fill a new directory; after a failure, what is left there is the caller's to remove.

        **Raises:** ObjectNotFound, ObjectCorrupt, StoreUnavailable; AdapterCapacityExceeded where
        the disk is full.
        """
        if version.stored_as is None:
            raise ObjectNotFound(f"{ARTIFACTS}{version.digest}/")
        self._spare(version.stored_as)
        await asyncio.to_thread(directory.mkdir)
        with entry.room_on_disk():
            await self._try_often(version, version.stored_as, directory)
        self._failures.pop(version.stored_as, None)

    async def _try_often(self, version: AdapterVersion, stored_as: str, directory: Path) -> None:
        last_start = self._clock() + self._retries.deadline_seconds
        delay = self._retries.delay_seconds
        for attempts_left in reversed(range(self._retries.attempts)):
            try:
                return await self._try_once(version, stored_as, directory)
            except ObjectNotFound:
                self._on_refused("missing")
                raise
            except (ObjectCorrupt, StoreUnavailable) as error:
                if entry.is_disk_full(error):
                    raise
                self._on_refused("corrupt" if isinstance(error, ObjectCorrupt) else "unavailable")
                if not attempts_left or self._clock() + delay > last_start:
                    self._remember(stored_as, error)
                    raise
            await self._sleep(delay * random.uniform(0.5, 1.0))
            delay *= 2

    async def _try_once(self, version: AdapterVersion, stored_as: str, directory: Path) -> None:
        gets = [
            asyncio.ensure_future(self._store.get(artifact_key(stored_as, file), directory / file))
            for file in ARTIFACT_FILES
        ]
        try:
            await asyncio.gather(*gets)
        finally:
            for get in gets:
                get.cancel()
            await asyncio.wait(gets)
        if await asyncio.to_thread(artifact_digest, directory) != version.digest:
            raise ObjectCorrupt(f"{ARTIFACTS}{stored_as}/")

    def _spare(self, stored_as: str) -> None:
        """Raise what an artifact's last download ended in, while its pause lasts."""
        failure = self._failures.get(stored_as)
        if failure is not None and self._clock() < failure.until:
            raise failure.error.with_traceback(None)

    def _remember(self, stored_as: str, error: StoreError) -> None:
        now, pause = self._clock(), self._retries.pause_seconds
        known = self._failures.get(stored_as)
        if known is not None and isinstance(error, ObjectCorrupt):
            pause = min(2 * known.pause_seconds, self._retries.max_pause_seconds)
        oldest = now - self._retries.max_pause_seconds
        self._failures = {
            name: failure for name, failure in self._failures.items() if failure.until > oldest
        }
        self._failures[stored_as] = _Failure(error, now + pause, pause)
