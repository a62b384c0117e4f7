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
    CONFIG_ALONE_SECONDS,
    UNFIT,
    Action,
    Directory,
    Place,
    Publish,
    Retire,
    Seen,
    directories,
    look,
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
    assert directories(listing(f"{A}/{file}")) == [Directory(A, UNFIT, 1)]


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


def seen(*looks: Mapping[str, str], at: float = 0) -> dict[str, Seen] | None:
    """Return what a process remembers after these looks, all made at the same time."""
    remembered: dict[str, Seen] | None = None
    for marks in looks:
        remembered = look(remembered, marks, at=at)
    return remembered


def planned(
    before: Mapping[str, str] | None, now: Mapping[str, str], applied: Mapping[str, str]
) -> list[Action]:
    looks = () if before is None else (before,)
    after = seen(*looks, now)
    assert after is not None
    return plan(seen(*looks), after, applied, at=0)


def test_nothing_is_done_after_the_first_listing() -> None:
    assert planned(None, {A: "1"}, {B: "1"}) == []


def test_a_directory_seen_twice_alike_is_published() -> None:
    assert planned({A: "1"}, {A: "1"}, {}) == [Publish(A, "1")]


@pytest.mark.parametrize("before", [{}, {A: "0"}, {A: UNFIT}])
def test_a_directory_that_has_just_changed_waits(before: Mapping[str, str]) -> None:
    assert planned(before, {A: "1"}, {A: "0"}) == []


def test_what_was_acted_upon_is_not_acted_upon_again() -> None:
    assert planned({A: "1"}, {A: "1"}, {A: "1"}) == []


def test_a_directory_that_is_unfit_stays_as_it_was_applied() -> None:
    assert planned({A: UNFIT}, {A: UNFIT}, {A: "1"}) == []


def test_a_directory_missing_once_stays() -> None:
    assert planned({A: "1"}, {}, {A: "1"}) == []


def test_a_directory_missing_twice_is_retired() -> None:
    assert planned({}, {}, {A: "1"}) == [Retire(A)]


def test_retirements_come_first() -> None:
    assert planned({A: "1"}, {A: "1"}, {B: "1"}) == [Retire(B), Publish(A, "1")]


def test_a_look_keeps_the_time_of_what_is_unchanged() -> None:
    first = look(None, {A: "1", B: "1"}, at=5)

    assert look(first, {A: "1", B: "2"}, at=7) == {A: Seen("1", 5), B: Seen("2", 7)}


def pair(config: str, weights: str) -> str:
    """Return the mark of a directory with these two ETags."""
    return mark_of(
        listing(f"{A}/{CONFIG_FILE}", etag=config) + listing(f"{A}/{WEIGHTS_FILE}", etag=weights)
    )


@pytest.mark.parametrize(
    ("config", "weights", "waits"), [("2", "1", True), ("1", "2", False), ("2", "2", False)]
)
def test_only_a_config_beside_weights_that_stayed_waits_for_longer(
    config: str, weights: str, waits: bool
) -> None:
    mark, applied = pair(config, weights), pair("1", "1")

    assert planned({A: mark}, {A: mark}, {A: applied}) == ([] if waits else [Publish(A, mark)])


def test_a_config_alone_is_taken_once_it_stayed_alone_for_long() -> None:
    mark, applied = pair("2", "1"), {A: pair("1", "1")}
    first = look(None, {A: mark}, at=3)
    later = look(first, {A: mark}, at=3 + CONFIG_ALONE_SECONDS)

    assert plan(first, later, applied, at=2 + CONFIG_ALONE_SECONDS) == []
    assert plan(first, later, applied, at=3 + CONFIG_ALONE_SECONDS) == [Publish(A, mark)]


Content = dict[str, int]
"""What a directory holds: the version of each of its files."""

SOURCES = st.sampled_from([A, B])
FILES = st.sampled_from(ARTIFACT_FILES)
VERSIONS = st.integers(0, 2)


@dataclass
class Replica:
    """What one process remembers, and what the bucket held when it last looked."""

    before: dict[str, Seen] | None = None
    saw: dict[str, Content] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)

    def look(self, marks: Mapping[str, str], bucket: dict[str, Content], at: float) -> None:
        """Remember a look; `since` is when each content was seen first, told by the content."""
        same = {s for s in bucket if s in self.since and self.saw.get(s) == bucket[s]}
        self.since = {s: self.since[s] if s in same else at for s in bucket}
        self.before, self.saw = look(self.before, marks, at=at), bucket


class SyncedBucket(RuleBasedStateMachine):
    """Operators write and delete as they please, two replicas take turns, some restart.

    `quiet` sources are listed but ignored, as duplicates are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bucket: dict[str, Content] = {}
        self.applied: dict[str, str] = {}
        self.published: dict[str, Content] = {}
        self.replicas: list[Replica] = []
        self.at = 0.0
        self.quiet: set[str] = set()

    @initialize()
    def start(self) -> None:
        self.replicas = [Replica(), Replica()]

    @rule(source=SOURCES, file=FILES, version=VERSIONS)
    def write(self, source: str, file: str, version: int) -> None:
        self.bucket.setdefault(source, {})[file] = version

    @rule(source=SOURCES, file=FILES)
    def delete(self, source: str, file: str) -> None:
        self.bucket.get(source, {}).pop(file, None)

    @rule(seconds=st.sampled_from([1.0, CONFIG_ALONE_SECONDS / 2, CONFIG_ALONE_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.at += seconds

    @rule(source=SOURCES)
    def ignore_or_heed(self, source: str) -> None:
        self.quiet ^= {source}

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
        self.quiet = set()
        for _ in range(2):
            self.run_round(replica)
            self.at += CONFIG_ALONE_SECONDS
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
        marks = self.marks()
        actions, earlier = self.plan_of(replica), replica.saw
        replica.look(marks, saw, self.at)
        for action in actions:
            if isinstance(action, Retire):
                assert not earlier.get(action.source)
                assert not saw.get(action.source)
                del self.applied[action.source], self.published[action.source]
                continue
            assert action.source not in self.quiet
            copied = {CONFIG_FILE: self.bucket[action.source][CONFIG_FILE]}
            if callable(meanwhile):
                meanwhile()
            copied[WEIGHTS_FILE] = self.bucket[action.source][WEIGHTS_FILE]
            if self.marks()[action.source] == action.mark:
                assert copied == saw[action.source] == earlier[action.source]
                self.assert_weights_had_time(action.source, copied, replica)
                self.published[action.source] = copied
                self.applied[action.source] = action.mark

    def assert_weights_had_time(self, source: str, copied: Content, replica: Replica) -> None:
        served = self.published.get(source)
        if served is not None and served[WEIGHTS_FILE] == copied[WEIGHTS_FILE]:
            assert self.at - replica.since[source] >= CONFIG_ALONE_SECONDS

    def plan_of(self, replica: Replica) -> list[Action]:
        now = look(replica.before, self.marks(), at=self.at)
        return plan(replica.before, now, self.applied, at=self.at)

    def marks(self) -> dict[str, str]:
        infos = [
            ObjectInfo(f"{source}/{file}", 1, f"etag-{version}")
            for source, content in self.bucket.items()
            for file, version in content.items()
        ]
        marks = {directory.source: directory.mark for directory in directories(infos)}
        return {source: UNFIT if source in self.quiet else mark for source, mark in marks.items()}


TestSyncedBucket = SyncedBucket.TestCase
TestSyncedBucket.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
