"""What is done about a listing: by example, and for any history of the bucket."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from adapters_registry.artifacts import ARTIFACT_FILES
from adapters_registry.sync import (
    HALF_WRITTEN,
    Action,
    Directory,
    Place,
    Publish,
    Retire,
    directories,
    place_of,
    plan,
)
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, ObjectInfo

A, B = "in/acme/base/a", "in/acme/base/b"


def listing(*files: str, etag: str = "1", size: int = 1) -> list[ObjectInfo]:
    return [ObjectInfo(file, size, etag) for file in files]


def both(source: str, *, etag: str = "1", size: int = 1) -> list[ObjectInfo]:
    return listing(*(f"{source}/{file}" for file in ARTIFACT_FILES), etag=etag, size=size)


def mark_of(infos: Iterable[ObjectInfo]) -> str:
    (directory,) = directories(infos)
    return directory.mark


def test_directories_are_found_in_key_order_whatever_the_order_of_their_files() -> None:
    found = directories([*both(B), *reversed(both(A))])

    assert [directory.source for directory in found] == [A, B]
    assert [directory.size_bytes for directory in found] == [2, 2]


def test_files_beside_the_two_are_ignored() -> None:
    others = listing(f"{A}/README.md", f"{A}/checkpoint-1/optimizer.pt", "in/notes", "top")

    assert directories([*both(A), *others]) == directories(both(A))


def test_a_directory_without_either_file_is_none() -> None:
    assert directories(listing(f"{A}/tokenizer.json")) == []


@pytest.mark.parametrize("file", ARTIFACT_FILES)
def test_one_file_alone_is_half_written(file: str) -> None:
    assert directories(listing(f"{A}/{file}")) == [Directory(A, HALF_WRITTEN, 1)]


@pytest.mark.parametrize("changed", ARTIFACT_FILES)
@pytest.mark.parametrize(("etag", "size"), [("2", 1), ("1", 2)])
def test_the_mark_follows_etag_and_size_of_each_file(changed: str, etag: str, size: int) -> None:
    (other,) = set(ARTIFACT_FILES) - {changed}
    after = listing(f"{A}/{changed}", etag=etag, size=size) + listing(f"{A}/{other}")

    assert mark_of(after) != mark_of(both(A))


def test_the_mark_tells_which_file_has_which_etag() -> None:
    one = listing(f"{A}/{CONFIG_FILE}", etag="1") + listing(f"{A}/{WEIGHTS_FILE}", etag="2")
    other = listing(f"{A}/{CONFIG_FILE}", etag="2") + listing(f"{A}/{WEIGHTS_FILE}", etag="1")

    assert mark_of(one) != mark_of(other)


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("in/acme/base/mine", Place("acme", "base", "mine")),
        ("in/acme/meta/llama/3/mine", Place("acme", "meta/llama/3", "mine")),
        ("in/acme/mine", None),
        ("in/acme", None),
        ("in", None),
        ("out/acme/base/mine", None),
    ],
)
def test_a_path_reads_as_organisation_base_model_and_name(source: str, place: Place | None) -> None:
    assert place_of(source, "in/") == place


def test_nothing_is_done_after_the_first_listing() -> None:
    assert plan(None, {A: "1"}, {B: "1"}) == []


def test_a_directory_seen_twice_alike_is_published() -> None:
    assert plan({A: "1"}, {A: "1"}, {}) == [Publish(A, "1")]


@pytest.mark.parametrize("before", [{}, {A: "0"}, {A: HALF_WRITTEN}])
def test_a_directory_that_has_just_changed_waits(before: Mapping[str, str]) -> None:
    assert plan(before, {A: "1"}, {A: "0"}) == []


def test_what_was_acted_upon_is_not_acted_upon_again() -> None:
    assert plan({A: "1"}, {A: "1"}, {A: "1"}) == []


def test_a_half_written_directory_stays_as_it_was_applied() -> None:
    assert plan({A: HALF_WRITTEN}, {A: HALF_WRITTEN}, {A: "1"}) == []


def test_a_directory_missing_once_stays() -> None:
    assert plan({A: "1"}, {}, {A: "1"}) == []


def test_a_directory_missing_twice_is_retired() -> None:
    assert plan({}, {}, {A: "1"}) == [Retire(A)]


def test_retirements_come_first() -> None:
    assert plan({A: "1"}, {A: "1"}, {B: "1"}) == [Retire(B), Publish(A, "1")]


Content = dict[str, int]
"""What a directory holds: the version of each of its files."""

SOURCES = st.sampled_from([A, B])
FILES = st.sampled_from(ARTIFACT_FILES)
VERSIONS = st.integers(0, 2)


@dataclass
class Replica:
    """What one process remembers, and what the bucket held when it last looked."""

    before: dict[str, str] | None = None
    saw: dict[str, Content] = field(default_factory=dict)


class SyncedBucket(RuleBasedStateMachine):
    """Operators write and delete as they please, two replicas take turns, some restart."""

    def __init__(self) -> None:
        super().__init__()
        self.bucket: dict[str, Content] = {}
        self.applied: dict[str, str] = {}
        self.published: dict[str, Content] = {}
        self.replicas: list[Replica] = []

    @initialize()
    def start(self) -> None:
        self.replicas = [Replica(), Replica()]

    @rule(source=SOURCES, file=FILES, version=VERSIONS)
    def write(self, source: str, file: str, version: int) -> None:
        self.bucket.setdefault(source, {})[file] = version

    @rule(source=SOURCES, file=FILES)
    def delete(self, source: str, file: str) -> None:
        self.bucket.get(source, {}).pop(file, None)

    @rule(number=st.integers(0, 1))
    def restart(self, number: int) -> None:
        self.replicas[number] = Replica()

    @rule(number=st.integers(0, 1))
    def sync(self, number: int) -> None:
        self.run_round(self.replicas[number])

    @rule(number=st.integers(0, 1), source=SOURCES, file=FILES, version=VERSIONS)
    def sync_while_it_is_written(self, number: int, source: str, file: str, version: int) -> None:
        self.run_round(self.replicas[number], lambda: self.write(source, file, version))

    @rule(number=st.integers(0, 1))
    def sync_in_quiet_times(self, number: int) -> None:
        replica = self.replicas[number]
        for _ in range(2):
            self.run_round(replica)
        assert self.plan_of(replica) == []
        assert {*self.applied} <= {*self.marks()}
        for source, content in self.bucket.items():
            if len(content) == len(ARTIFACT_FILES):
                assert self.published[source] == content
            if not content:
                assert source not in self.published

    @invariant()
    def every_version_published_has_its_directory_on_record(self) -> None:
        assert self.published.keys() == self.applied.keys()

    def run_round(self, replica: Replica, meanwhile: object = None) -> None:
        saw = {source: dict(content) for source, content in self.bucket.items()}
        actions = self.plan_of(replica)
        for action in actions:
            if isinstance(action, Retire):
                assert not replica.saw.get(action.source)
                assert not saw.get(action.source)
                del self.applied[action.source], self.published[action.source]
                continue
            copied = {CONFIG_FILE: self.bucket[action.source][CONFIG_FILE]}
            if callable(meanwhile):
                meanwhile()
            copied[WEIGHTS_FILE] = self.bucket[action.source][WEIGHTS_FILE]
            if self.marks()[action.source] == action.mark:
                assert copied == saw[action.source] == replica.saw[action.source]
                self.published[action.source] = copied
                self.applied[action.source] = action.mark
        replica.before, replica.saw = self.marks(saw), saw

    def plan_of(self, replica: Replica) -> list[Action]:
        return plan(replica.before, self.marks(), self.applied)

    def marks(self, bucket: Mapping[str, Content] | None = None) -> dict[str, str]:
        infos = [
            ObjectInfo(f"{source}/{file}", 1, f"etag-{version}")
            for source, content in (self.bucket if bucket is None else bucket).items()
            for file, version in content.items()
        ]
        return {directory.source: directory.mark for directory in directories(infos)}


TestSyncedBucket = SyncedBucket.TestCase
TestSyncedBucket.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
