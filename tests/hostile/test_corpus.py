"""Each hostile upload gets its own verdict, in bounded time, memory and disk, and nothing else."""

import hashlib
import pickle
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters_registry.archive import extract
from adapters_registry.errors import InvalidAdapter
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, Artifact
from adapters_registry.validation import canonicalise
from tests.hostile.case import CANARY, RANKS, SHAPES, HostileCase, good_config, pickled, upload
from tests.hostile.configs import HARMLESS_BASES
from tests.hostile.corpus import CORPUS
from tests.stopwatch import cpu_time

MAX_BYTES = 2 << 30
MAX_SECONDS = 1.0
MAX_SECONDS_OF_A_PATTERN = 0.1
MAX_MEMORY = 32 << 20
MAX_DISK = 8 << 20


@dataclass(frozen=True, slots=True)
class Room:
    """A place for one upload; everything that is written should be in `out`."""

    archive: Path
    out: Path

    def judge(self, content: bytes) -> Artifact:
        self.archive.write_bytes(content)
        extract(self.archive, self.out, max_bytes=MAX_BYTES)
        return canonicalise(self.out, base_model="tiny-llama", shapes=SHAPES, ranks=RANKS)

    def written(self) -> list[Path]:
        top = self.archive.parent
        return [path for path in top.rglob("*") if path not in (self.archive, self.out)]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    out = tmp_path / "work" / "room"
    out.mkdir(parents=True)
    return Room(tmp_path / "work" / "upload.zip", out)


@pytest.fixture
def traced_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_there_are_at_least_200_and_no_two_alike() -> None:
    assert len({case.id for case in CORPUS}) == len(CORPUS)
    contents = {hashlib.sha256(case.make()).digest() for case in CORPUS}
    assert len(contents) == len(CORPUS) >= 200


@pytest.mark.usefixtures("traced_memory")
@pytest.mark.parametrize("case", CORPUS, ids=[case.id for case in CORPUS])
def test_hostile_upload_is_refused_within_bounds(case: HostileCase, room: Room) -> None:
    content = case.make()
    tracemalloc.reset_peak()
    held = tracemalloc.get_traced_memory()[0]

    with cpu_time() as watch, pytest.raises(InvalidAdapter) as caught:
        room.judge(content)

    peak = tracemalloc.get_traced_memory()[1] - held
    error = caught.value
    assert error.code == case.code, error.message
    assert error.param
    assert error.message.isascii()
    assert error.message.isprintable()
    assert len(error.message) < 2000
    assert str(room.out) not in error.message
    assert watch.seconds < MAX_SECONDS
    assert watch.seconds < MAX_SECONDS_OF_A_PATTERN or error.code != "config_pattern_refused"
    assert peak < MAX_MEMORY
    assert {path.name for path in room.written()} <= {CONFIG_FILE, WEIGHTS_FILE}
    assert all(path.parent == room.out for path in room.written())
    assert sum(path.stat().st_size for path in room.written()) < MAX_DISK
    assert not CANARY.exists()


def test_canary_is_made_by_whoever_unpickles() -> None:
    assert not CANARY.exists()
    pickle.loads(pickled())
    CANARY.rmdir()


@pytest.mark.parametrize("said", HARMLESS_BASES, ids=lambda text: repr(text[:30]))
def test_name_of_the_base_model_is_text_and_nothing_else(said: str, room: Room) -> None:
    config = good_config(base_model_name_or_path=said)

    assert room.judge(upload(config)).version.base_model == "tiny-llama"
    assert {path.name for path in room.written()} == {CONFIG_FILE, WEIGHTS_FILE}
