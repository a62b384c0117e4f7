"""Random traffic through the turns: what always holds, how long anyone waits, and what it costs.

Time is counted in ticks. A request that was granted ends; when, is for the adversary to choose.
"""

import itertools
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapters_registry.turns import Turn, Turns, TurnStats

small = st.integers(1, 4)
flows = st.integers(0, 6)
picks = st.integers(0, 1000)


class TurnsMachine(RuleBasedStateMachine):
    """Any order of arrivals, ends and cancellations."""

    def __init__(self) -> None:
        super().__init__()
        self.order = itertools.count()
        self.requests: dict[Turn, int] = {}
        self.last_granted: dict[int, int] = {}

    @initialize(slots=small, max_running=st.integers(1, 7), max_running_each=small)
    def start(self, slots: int, max_running: int, max_running_each: int) -> None:
        self.slots, self.seats, self.each = slots, max_running, max_running_each
        self.turns = Turns(slots=slots, max_running=max_running, max_running_each=max_running_each)

    def of(self, *, is_running: bool) -> list[Turn]:
        return [turn for turn in self.requests if turn.is_running is is_running]

    def age(self, turn: Turn) -> int:
        return self.turns._now - turn.began

    def count(self, *, is_running: bool) -> Counter[object]:
        return Counter(turn.flow for turn in self.of(is_running=is_running))

    @rule(flow=flows, number=small, gives_way=st.booleans())
    def arrive(self, flow: int, number: int, gives_way: bool) -> None:
        for _ in range(number):
            turn = self.turns.take(flow, gives_way=gives_way)
            is_free = self.turns.is_free(flow, gives_way=gives_way)
            nobody_waits = not self.of(is_running=False)
            self.requests[turn] = next(self.order)
            self.turns.join(turn)
            assert turn.is_running or not is_free
            assert is_free or not (nobody_waits and turn.is_running)

    @precondition(lambda self: self.requests)
    @rule(pick=picks)
    def leave(self, pick: int) -> None:
        turn = list(self.requests)[pick % len(self.requests)]
        del self.requests[turn]
        self.turns.leave(turn)

    @precondition(lambda self: self.of(is_running=True))
    @rule(pick=picks)
    def finish(self, pick: int) -> None:
        running = self.of(is_running=True)
        turn = running[pick % len(running)]
        del self.requests[turn]
        self.turns.leave(turn)

    @rule()
    def cancel_all_that_wait(self) -> None:
        for turn in self.of(is_running=False):
            if not turn.is_running:
                del self.requests[turn]
                self.turns.leave(turn)

    @invariant()
    def nothing_runs_beyond_the_limits(self) -> None:
        running = self.count(is_running=True)
        assert running.total() <= self.seats
        assert len(running) <= self.slots
        staying = Counter(t.flow for t in self.of(is_running=True) if not t.gives_way)
        assert max(staying.values(), default=0) <= self.each

    @invariant()
    def the_snapshot_counts_what_there_is(self) -> None:
        running, waiting = self.count(is_running=True), self.count(is_running=False)
        counted = TurnStats(running.total(), waiting.total(), len(running))
        assert self.turns.snapshot() == counted

    @invariant()
    def who_waits_has_been_told_nothing(self) -> None:
        for turn in self.requests:
            assert turn.granted is None or turn.granted.is_set() is turn.is_running

    @invariant()
    def a_flow_runs_its_requests_in_the_order_of_arrival(self) -> None:
        newest: dict[object, int] = {}
        for turn in self.of(is_running=True):
            newest[turn.flow] = max(newest.get(turn.flow, 0), self.requests[turn])
        for turn in self.of(is_running=False):
            assert self.requests[turn] > newest.get(turn.flow, -1)

    @invariant()
    def no_seat_is_empty_for_a_flow_without_reason(self) -> None:
        running, waiting = self.count(is_running=True), self.count(is_running=False)
        if running.total() == self.seats:
            return
        slotless = [flow for flow in waiting if flow not in running]
        may_last = {turn.flow for turn in self.of(is_running=True) if self.age(turn) > 8}
        passed_over = [
            flow for flow in waiting if 0 < running[flow] < self.each and flow not in may_last
        ]
        assert not slotless or len(running) == self.slots
        assert len(passed_over) <= min(1, len(slotless))


class TestTurns(TurnsMachine.TestCase):
    settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


@dataclass
class Traffic:
    """Clients of several flows before an engine whose requests last as long as `length` says.

    A client sends its next request `pause` ticks after its last has ended; 0 is before the last
    has given its seat back. With the chance `fickle` a waiting request is cancelled in a tick, and
    another sent.
    """

    turns: Turns
    clients: Mapping[int, int]
    length: Callable[[int], int]
    pause: Callable[[int], int] = lambda flow: 0
    fickle: Callable[[], bool] = lambda: False
    now: int = 0
    busy: int = 0
    ended: Counter[int] = field(default_factory=Counter)
    waits: dict[int, list[int]] = field(default_factory=dict)
    longest_wait: int = 0
    """Of any flow, from when it begins to wait or was granted last to when it is granted."""

    def __post_init__(self) -> None:
        self._running: list[tuple[int, int, Turn]] = []
        self._waiting: dict[int, deque[tuple[int, Turn]]] = {flow: deque() for flow in self.clients}
        self._since = dict.fromkeys(self.clients, 0)
        self._away = [
            (self.pause(flow), flow) for flow, number in self.clients.items() for _ in range(number)
        ]
        self.waits = {flow: [] for flow in self.clients}

    def run(self, ticks: int) -> "Traffic":
        for self.now in range(ticks):
            back = [flow for at, flow in self._away if at <= self.now]
            self._away = [(at, flow) for at, flow in self._away if at > self.now]
            for flow in back:
                self.send(flow)
            self.change_minds()
            over = [(flow, turn) for end, flow, turn in self._running if end <= self.now]
            self._running = [run for run in self._running if run[0] > self.now]
            for flow, turn in over:
                self.end(flow, turn)
            self.collect()
            self.busy += self.turns.snapshot().running
        return self

    def send(self, flow: int) -> None:
        turn = self.turns.take(flow)
        self.turns.join(turn)
        if not self._waiting[flow]:
            self._since[flow] = self.now
        self._waiting[flow].append((self.now, turn))

    def end(self, flow: int, turn: Turn) -> None:
        self.ended[flow] += 1
        if pause := self.pause(flow):
            self._away.append((self.now + pause, flow))
        else:
            self.send(flow)
        self.turns.leave(turn)
        self.collect()

    def change_minds(self) -> None:
        for flow, queue in self._waiting.items():
            for sent in [sent for sent in queue if self.fickle()]:
                if not sent[1].is_running:
                    queue.remove(sent)
                    self.turns.leave(sent[1])
                    self.send(flow)

    def collect(self) -> None:
        for flow, queue in self._waiting.items():
            self.longest_wait = max(self.longest_wait, self.now - self._since[flow])
            while queue and queue[0][1].is_running:
                sent_at, turn = queue.popleft()
                self._since[flow] = self.now
                self.waits[flow].append(self.now - sent_at)
                self._running.append((self.now + self.length(flow), flow, turn))
            if not queue:
                self._since[flow] = self.now


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), small, st.integers(1, 10), st.integers(1, 40))
def test_no_flow_waits_longer_than_the_flows_and_the_longest_request_allow(
    chance: random.Random, slots: int, seats: int, longest: int
):
    flows = range(chance.randint(2, 9))
    pauses = {flow: chance.choice([0, 0, 1, chance.randint(1, 30)]) for flow in flows}
    kinds = [[1, 2], [longest], range(1, longest + 1), [1, longest], [1] * 9 + [longest]]
    lengths = {flow: chance.choice(kinds) for flow in flows}
    fickle = chance.choice([0, 0.3])
    each = chance.choice([1, 2, seats])
    traffic = Traffic(
        Turns(slots=slots, max_running=seats, max_running_each=each),
        clients={flow: chance.choice([1, chance.randint(1, 15)]) for flow in flows},
        length=lambda flow: chance.choice(lengths[flow]),
        pause=lambda flow: pauses[flow] and chance.randint(1, pauses[flow]),
        fickle=lambda: chance.random() < fickle,
    ).run(200)
    # Each flow ahead costs a closed flow's last request, and at most as long again for a seat.
    assert traffic.longest_wait <= 2 * longest * (len(flows) + 1)


SLOTS, SEATS, LENGTH = 4, 32, 20
SPAN = 200 * LENGTH
COLD = range(10, 38)
SELDOM = dict.fromkeys(COLD, 20 * LENGTH)


def measured(clients: Mapping[int, int], pauses: Mapping[int, int] | None = None) -> Traffic:
    """Let them run for 200 requests' time. Lengths and pauses are exponential around a mean."""
    chance = random.Random(1)

    def about(mean: int) -> int:
        return max(1, round(chance.expovariate(1 / mean)))

    return Traffic(
        Turns(slots=SLOTS, max_running=SEATS, max_running_each=SEATS),
        clients,
        length=lambda flow: about(LENGTH),
        pause=lambda flow: about(pauses[flow]) if pauses and flow in pauses else 0,
    ).run(SPAN)


def evenness(shares: Sequence[int]) -> float:
    """Jain's index: 1 where all are equal, 1/n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def in_lengths(traffic: Traffic, flows: Iterable[int]) -> list[float]:
    """Return the waits of these flows' requests, in mean lengths of a request."""
    return [wait / LENGTH for flow in flows for wait in traffic.waits[flow]]


def test_equally_busy_flows_share_the_engine_evenly_and_keep_it_full():
    traffic = measured(dict.fromkeys(range(8), 40))
    assert evenness(list(traffic.ended.values())) > 0.97
    assert traffic.busy > 0.99 * SPAN * SEATS


def test_one_hot_flow_keeps_the_engine_full_and_cold_ones_hardly_wait():
    traffic = measured({0: 80} | dict.fromkeys(COLD, 1), SELDOM)
    assert traffic.busy > 0.99 * SPAN * SEATS
    waits = in_lengths(traffic, COLD)
    assert len(waits) > 250
    assert mean(waits) < 0.5
    assert max(waits) < 4


def test_cold_flows_get_in_between_as_many_hot_ones_as_there_are_slots():
    traffic = measured(dict.fromkeys(range(SLOTS), 40) | dict.fromkeys(COLD, 1), SELDOM)
    assert traffic.busy > 0.97 * SPAN * SEATS
    assert evenness([traffic.ended[flow] for flow in range(SLOTS)]) > 0.95
    waits = in_lengths(traffic, COLD)
    assert len(waits) > 200
    assert mean(waits) < 4.5
    assert max(waits) < 10


def test_flows_as_uneven_as_real_ones_leave_few_seats_empty():
    zipf = {rank: round(64 / rank) for rank in range(1, 33)}
    traffic = measured(zipf)
    assert traffic.busy > 0.95 * SPAN * SEATS
    assert min(traffic.ended[flow] for flow in zipf) > 0


def test_a_flow_with_few_clients_waits_little_between_hot_ones():
    traffic = measured(dict.fromkeys(range(6), 60) | {9: 4})
    assert traffic.busy > 0.99 * SPAN * SEATS
    assert traffic.ended[9] > 100
    assert mean(in_lengths(traffic, [9])) < 6


SHORT, STREAM = 3, 600


def beside_streams(slots: int, streaming: int, *, renewed_every: float = math.inf) -> Traffic:
    """Let flows with a stream, and short requests too, share a nearly empty engine with others."""
    renewals = dict.fromkeys(range(streaming), 0.0)
    others = range(streaming, streaming + 6)

    def length(flow: int) -> int:
        if renewals.get(flow, math.inf) > traffic.now:
            return SHORT
        renewals[flow] = traffic.now + renewed_every
        return STREAM

    traffic = Traffic(
        Turns(slots=slots, max_running=256, max_running_each=192),
        dict.fromkeys([*renewals, *others], 2),
        length,
        pause=lambda flow: 1 + flow % 3,
    )
    return traffic.run(4 * STREAM)


@pytest.mark.parametrize("slots", [2, 4, 8])
@pytest.mark.parametrize("renewed_every", [math.inf, STREAM - 50, STREAM + 50])
def test_streams_in_all_slots_but_one_hold_nobody_up(slots: int, renewed_every: float):
    traffic = beside_streams(slots, slots - 1, renewed_every=renewed_every)
    assert traffic.longest_wait <= 10 * SHORT


def test_where_streams_hold_all_slots_the_first_to_end_lets_others_in():
    traffic = beside_streams(4, 4)
    assert traffic.longest_wait <= STREAM + 10 * SHORT
