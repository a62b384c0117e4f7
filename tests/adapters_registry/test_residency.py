from pathlib import Path

import pytest

from adapters_registry.errors import AdapterLoadFailed, EngineReplaced
from adapters_registry.residency import Fetched, Phase, Residency, Residents
from adapters_registry.types import AdapterVersion, Digest, LoadedAdapter, Tier

FETCHED = Fetched(Tier.STORE, 0.5)
A, B, C, D, E = (AdapterVersion(Digest(letter * 64), "base") for letter in "abcde")


class Places:
    """Some places, and a record of what the engine would be told."""

    def __init__(self, capacity=2):
        self.admitted = []
        self.evicted = []
        self.residency = Residency(capacity, admit=self.admitted.append, evict=self.evicted.append)

    def join(self, *versions):
        return [self.residency.join(version, FETCHED) for version in versions]

    def load(self, *stays):
        for number, stay in enumerate(stays):
            adapter = LoadedAdapter(stay.version, number, Path())
            self.residency.loaded(stay, adapter)

    def visit(self, *versions):
        """Load each version, and leave it idle."""
        stays = self.join(*versions)
        self.load(*(stay for stay in stays if stay.phase is Phase.LOADING))
        for stay in stays:
            self.residency.leave(stay)
        return stays

    def take_evicted(self):
        versions = [stay.version for stay in self.evicted]
        self.evicted.clear()
        return versions


@pytest.fixture
def places():
    return Places()


def phases(*stays):
    return [stay.phase for stay in stays]


def test_places_are_given_until_none_is_free(places):
    stays = places.join(A, B, C)
    assert places.admitted == stays[:2]
    assert phases(*stays) == [Phase.LOADING, Phase.LOADING, Phase.WAITING]
    assert [stay.has_place.is_set() for stay in stays] == [True, True, False]
    assert places.evicted == []


def test_users_of_one_version_share_a_stay_in_every_phase(places):
    first = places.join(A)[0]
    assert places.join(A) == [first]
    places.load(first)
    assert places.join(A) == [first]
    assert (first.users, len(places.admitted)) == (3, 1)
    waiting = places.join(B, C)[1]
    assert places.join(C) == [waiting]


def test_a_loaded_stay_is_settled_and_says_where_it_came_from(places):
    stay = places.join(A)[0]
    assert not stay.settled.is_set()
    places.load(stay)
    assert (stay.settled.is_set(), stay.fetched, stay.error) == (True, FETCHED, None)
    assert stay.adapter.version == A


def test_the_least_recently_used_idle_stay_makes_room(places):
    places.visit(A, B)
    places.visit(A)
    waiting = places.join(C)[0]
    assert places.take_evicted() == [B]
    assert waiting.phase is Phase.WAITING


def test_a_place_is_given_only_when_the_engine_has_let_go(places):
    leaving = places.visit(A, B)[0]
    waiting = places.join(C)[0]
    assert leaving.phase is Phase.LEAVING
    places.residency.departed(leaving)
    assert phases(leaving, waiting) == [Phase.OVER, Phase.LOADING]
    assert leaving.left.is_set()


def test_as_many_leave_as_wait(places):
    places.visit(A, B)
    places.join(C)
    assert places.take_evicted() == [A]
    places.join(C)
    assert places.take_evicted() == []
    places.join(D)
    assert places.take_evicted() == [B]


def test_what_is_used_or_loading_stays(places):
    used, loading = places.join(A, B)
    places.load(used)
    places.join(C)
    assert places.evicted == []
    places.residency.leave(used)
    assert places.take_evicted() == [A]
    places.residency.leave(loading)
    assert places.evicted == []


def test_places_are_given_in_the_order_of_asking(places):
    used = places.join(A, B)
    places.load(*used)
    first, second = places.join(C, D)
    places.residency.leave(used[1])
    places.residency.departed(used[1])
    assert phases(first, second) == [Phase.LOADING, Phase.WAITING]


def test_a_waiting_stay_ends_with_its_last_user(places):
    places.join(A, B)
    waiting = places.join(C, C)[0]
    places.residency.leave(waiting)
    assert waiting.phase is Phase.WAITING
    places.residency.leave(waiting)
    assert (waiting.phase, waiting.has_place.is_set()) == (Phase.OVER, True)
    assert places.residency.find(C) is None


def test_a_load_for_nobody_ends_idle(places):
    loading = places.join(A)[0]
    places.residency.leave(loading)
    assert loading.phase is Phase.LOADING
    places.load(loading)
    assert places.residency.find(A) is loading
    places.visit(B)
    places.join(C)
    assert places.take_evicted() == [A]


def test_a_load_for_nobody_makes_room_as_soon_as_it_ends(places):
    loading = places.join(A, B)[0]
    places.residency.leave(loading)
    places.join(C)
    assert places.evicted == []
    places.load(loading)
    assert places.take_evicted() == [A]


def test_a_failed_load_gives_its_place_to_the_next(places):
    failed, _, waiting = places.join(A, B, C)
    error = AdapterLoadFailed(A.digest)
    places.residency.failed(failed, error)
    assert (failed.error, failed.phase, waiting.phase) == (error, Phase.OVER, Phase.LOADING)
    assert failed.settled.is_set()
    places.residency.leave(failed)
    assert places.residency.find(A) is None


def test_a_load_that_broke_off_keeps_its_place_until_it_could_be_unloaded(places):
    broken = places.join(A)[0]
    error = OSError("lost")
    places.residency.unsure(broken, LoadedAdapter(A, 1, Path()), error)
    assert (broken.settled.is_set(), broken.error) == (True, error)
    assert places.residency.holders() == [broken]
    again = places.join(A)[0]
    assert (places.take_evicted(), again.phase) == ([A], Phase.WAITING)
    places.residency.departed(broken)
    assert again.phase is Phase.LOADING


def test_a_version_that_leaves_is_not_admitted_again_before_it_is_gone(places):
    places.visit(A, B)
    next_one = places.join(C)[0]
    back = places.join(A)[0]
    assert places.take_evicted() == [A, B]
    leaving_a, leaving_b = (places.residency.departing(version) for version in (A, B))
    places.residency.departed(leaving_b)
    assert phases(next_one, back) == [Phase.LOADING, Phase.WAITING]
    places.residency.departed(leaving_a)
    assert back.phase is Phase.LOADING


def test_who_waits_fails_with_the_unload_that_was_to_make_room(places):
    places.visit(A, B)
    waiting = places.join(C)[0]
    leaving = places.residency.departing(A)
    error = OSError("lost")
    places.residency.stuck(leaving, error)
    assert (waiting.error, waiting.phase, waiting.settled.is_set()) == (error, Phase.OVER, True)
    assert (leaving.left.is_set(), places.residency.find(C)) == (True, None)


def test_what_could_not_leave_is_tried_again_first(places):
    places.visit(A, B)
    places.join(C)
    leaving = places.residency.departing(A)
    places.residency.stuck(leaving, OSError("lost"))
    places.take_evicted()
    places.join(D)
    assert (places.take_evicted(), leaving.left.is_set()) == ([A], False)


def test_dismissing_ends_an_idle_stay(places):
    idle = places.visit(A)[0]
    places.residency.dismiss(A)
    assert (places.take_evicted(), idle.phase) == ([A], Phase.LEAVING)
    assert places.residency.find(A) is None


def test_dismissing_leaves_what_is_used_or_wanted_or_unknown(places):
    used, loading, waiting = places.join(A, B, C)
    places.load(used)
    for version in (A, B, C, D):
        places.residency.dismiss(version)
    assert phases(used, loading, waiting) == [Phase.LOADED, Phase.LOADING, Phase.WAITING]
    assert places.evicted == []


def test_dismissing_tries_again_what_could_not_leave(places):
    places.visit(A)
    places.residency.dismiss(A)
    places.residency.stuck(places.residency.departing(A), OSError("lost"))
    places.take_evicted()
    places.residency.dismiss(A)
    assert places.take_evicted() == [A]
    places.residency.dismiss(A)
    assert places.evicted == []


def test_abandoning_ends_every_stay():
    places = Places(5)
    stuck, leaving, idle = places.visit(A, B, C)
    for stay in (stuck, leaving):
        places.residency.dismiss(stay.version)
    places.residency.stuck(stuck, OSError("lost"))
    used, loading = places.join(D, E)
    places.load(used)
    waiting = places.join(B)[0]
    every = [stuck, leaving, idle, used, loading, waiting]
    assert [stay.phase.name for stay in every] == [
        *("LEAVING", "LEAVING", "LOADED", "LOADED", "LOADING", "WAITING")
    ]
    places.residency.abandon()
    assert {stay.phase for stay in every} == {Phase.OVER}
    assert all(stay.settled.is_set() and stay.left.is_set() for stay in every)
    assert isinstance(waiting.error, EngineReplaced)
    assert places.residency.snapshot() == Residents(5, 0, 0, 0)


def test_users_of_an_abandoned_stay_leave_quietly(places):
    loaded, waiting = places.join(A, B)
    places.load(loaded)
    places.residency.abandon()
    for stay in (loaded, waiting):
        places.residency.leave(stay)
    assert places.residency.snapshot() == Residents(2, 0, 0, 0)


def test_a_snapshot_counts_places_and_users(places):
    places.visit(A)
    places.join(B, C, C, D)
    residents = places.residency.snapshot()
    assert (residents.capacity, residents.resident, residents.leased) == (2, 2, 1)
    assert residents.waiting == 3
