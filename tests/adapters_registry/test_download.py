"""When a download is tried again, given up, remembered and counted."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters_registry.artifacts import artifact_key, publish
from adapters_registry.download import Downloader, Retries
from adapters_registry.errors import (
    AdapterCapacityExceeded,
    ObjectCorrupt,
    ObjectNotFound,
    StoreError,
    StoreUnavailable,
)
from adapters_registry.testing import MemoryStore, make_artifact
from adapters_registry.types import WEIGHTS_FILE, AdapterVersion

GOOD = b"weights"
WRONG = b"Weights"


class Setting:
    """A store with one artifact, a clock that only sleeping moves, and a record of all."""

    def __init__(self, room: Path, version: AdapterVersion) -> None:
        self.store = MemoryStore()
        self.version = version
        self.now = 0.0
        self.slept: list[float] = []
        self.refused: list[str] = []
        self.before_attempt: Callable[[int], None] = lambda attempt: None
        self._room = room
        self._calls = 0
        self._downloader = Downloader(
            self.store,
            retries=Retries(delay_seconds=1.0),
            on_refused=self._note,
            clock=lambda: self.now,
            sleep=self._sleep,
        )

    @property
    def weights_key(self) -> str:
        assert self.version.stored_as is not None
        return artifact_key(self.version.stored_as, WEIGHTS_FILE)

    @property
    def attempts(self) -> int:
        return self.store.gets[self.weights_key]

    async def download(self) -> bytes:
        self._calls += 1
        directory = self._room / str(self._calls)
        await self._downloader.download(self.version, directory)
        return (directory / WEIGHTS_FILE).read_bytes()

    async def fails_with(self, error: type[StoreError]) -> None:
        with pytest.raises(error):
            await self.download()

    def hold(self, weights: bytes) -> None:
        self.store.objects[self.weights_key] = weights

    def _note(self, reason: str) -> None:
        self.refused.append(reason)
        self.before_attempt(len(self.refused) + 1)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
async def setting(tmp_path: Path) -> Setting:
    artifact = make_artifact(tmp_path / "upload", "base", GOOD, stored_as="ft_1")
    setting = Setting(tmp_path, artifact.version)
    await publish(setting.store, artifact, "ft_1")
    return setting


async def test_a_good_copy_comes_at_once(setting: Setting) -> None:
    assert await setting.download() == GOOD
    assert (setting.attempts, setting.slept, setting.refused) == (1, [], [])


async def test_a_copy_that_was_wrong_once_is_healed(setting: Setting) -> None:
    setting.hold(WRONG)
    setting.before_attempt = lambda _: setting.hold(GOOD)
    assert await setting.download() == GOOD
    assert (setting.attempts, setting.refused) == (2, ["corrupt"])


async def test_delays_grow_and_are_cut_at_random(setting: Setting) -> None:
    setting.hold(WRONG)
    await setting.fails_with(ObjectCorrupt)
    first, second = setting.slept
    assert 0.5 <= first <= 1.0 <= second <= 2.0
    assert (setting.attempts, setting.refused) == (3, ["corrupt"] * 3)


async def test_a_store_that_fails_is_tried_again(setting: Setting) -> None:
    setting.store.error = StoreUnavailable("down")
    await setting.fails_with(StoreUnavailable)
    assert (setting.attempts, setting.refused) == (3, ["unavailable"] * 3)


async def test_a_missing_artifact_is_neither_tried_again_nor_remembered(setting: Setting) -> None:
    del setting.store.objects[setting.weights_key]
    await setting.fails_with(ObjectNotFound)
    assert (setting.attempts, setting.refused) == (1, ["missing"])
    setting.hold(GOOD)
    assert await setting.download() == GOOD


async def test_no_attempt_begins_after_the_deadline(setting: Setting) -> None:
    def take_half_a_minute(_: int) -> None:
        setting.now += 29.5

    setting.hold(WRONG)
    setting.before_attempt = take_half_a_minute
    await setting.fails_with(ObjectCorrupt)
    assert setting.attempts == 1


async def test_a_broken_artifact_is_left_alone_for_a_while(setting: Setting) -> None:
    setting.hold(WRONG)
    await setting.fails_with(ObjectCorrupt)
    for _ in range(100):
        await setting.fails_with(ObjectCorrupt)
    assert (setting.attempts, len(setting.refused)) == (3, 3)
    setting.now += 5.0
    setting.hold(GOOD)
    assert await setting.download() == GOOD


async def test_wrong_bytes_are_left_alone_twice_as_long_each_time_up_to_a_minute(
    setting: Setting,
) -> None:
    setting.hold(WRONG)
    for pause in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        await setting.fails_with(ObjectCorrupt)
        attempts = setting.attempts
        setting.now += pause - 0.01
        await setting.fails_with(ObjectCorrupt)
        assert setting.attempts == attempts
        setting.now += 0.02


async def test_a_store_that_comes_back_is_noticed_after_the_first_pause(setting: Setting) -> None:
    setting.store.error = StoreUnavailable("down")
    for _ in range(4):
        await setting.fails_with(StoreUnavailable)
        setting.now += 5.0
    setting.store.error = None
    assert await setting.download() == GOOD


async def test_a_broken_copy_says_nothing_about_another_copy_of_the_same_content(
    setting: Setting, tmp_path: Path
) -> None:
    setting.hold(WRONG)
    await setting.fails_with(ObjectCorrupt)
    other = make_artifact(tmp_path / "other", "base", GOOD)
    await publish(setting.store, other, "ft_2")
    setting.version = AdapterVersion(setting.version.digest, "base", "ft_2")
    assert await setting.download() == GOOD


async def test_a_full_disk_is_said_at_once_and_not_held_against_the_store(setting: Setting) -> None:
    full = StoreUnavailable("cannot write")
    full.__cause__ = OSError(errno.ENOSPC, "full")
    setting.store.error = full
    with pytest.raises(AdapterCapacityExceeded):
        await setting.download()
    setting.store.error = None
    assert await setting.download() == GOOD
    assert setting.refused == []


async def test_failures_of_long_ago_are_forgotten(setting: Setting) -> None:
    setting.store.error = StoreUnavailable("down")
    for number in range(50):
        setting.version = AdapterVersion(setting.version.digest, "base", f"ft_{number}")
        await setting.fails_with(StoreUnavailable)
        setting.now += 70.0
    assert len(setting._downloader._failures) == 1
