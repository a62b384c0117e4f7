"""Fair admission in front of one engine: whose request may run next.

Owns the bookkeeping of running and waiting requests by flow (one adapter, one flow), so that the
engine is never handed more different adapters than it has slots for: it would serve those it holds
and let the others starve. Synchronous, without tasks and without a clock: an event tells who waits.
Refused: overtaking inside a flow, and giving a flow more turns because it asks more often.

Waiting flows form a ring; who was granted goes to its end. A flow is active while it has running
requests, and an active flow holds a slot. While flows wait for a slot, active ones are closed: they
get at most their share of the seats out of what waits already, and lose the slot when their last
request ends. First to be closed is the one that can use least; among those that can use a whole
share, the longest active. One stays closed for as long as anybody waits for a slot; others only
while the open flows can fill the engine without them. So each wait is bounded by the length of
requests and the place in the ring, however fast others send, and few seats stay empty for it.

A flow with a request that lasts, a long stream, gives up no slot soon: another is closed for it. It
stays open itself while the ring goes round without its slot. Where somebody has waited since before
that request began, it stays closed, so that new long streams cannot hold a slot for ever. Time is
counted in events: what lasts is told by how many there were while others began and ended.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

_LASTING = 8
"""So many usual lengths: few requests last, also where lengths are exponential."""


class TurnStats(NamedTuple):
    """A snapshot for metrics: requests that run and that wait, and flows that hold a slot."""

    running: int
    waiting: int
    active_flows: int


class Turn:
    """One request's place in the queue, then in the engine. To be joined once, and left once.

    One that `gives_way` to others of its own accord may begin beyond `max_running_each`.
    """

    __slots__ = ("began", "flow", "gives_way", "granted", "is_running")

    def __init__(self, flow: Hashable, *, gives_way: bool) -> None:
        self.flow = flow
        self.gives_way = gives_way
        self.is_running = False
        self.began = 0
        self.granted: asyncio.Event | None = None
        """Set with `is_running`; there is none where the turn came at once."""


@dataclass(eq=False, slots=True)
class _Flow:
    key: Hashable
    running: OrderedDict[Turn, None] = field(default_factory=OrderedDict)  # longest running first
    waiting: OrderedDict[Turn, None] = field(default_factory=OrderedDict)
    place: int = 0  # in the ring, while it waits: the lowest is next

    def usable(self, seats: int) -> int:
        return min(len(self.running) + len(self.waiting), seats)

    def oldest(self) -> Turn:
        return next(iter(self.running))


class Turns:
    """At most `slots` flows and `max_running` requests run, and of each flow `max_running_each`."""

    def __init__(self, *, slots: int, max_running: int, max_running_each: int) -> None:
        if min(slots, max_running, max_running_each) < 1:
            raise ValueError("slots, max_running and max_running_each must be at least 1")
        self._slots = slots
        self._max_running = max_running
        self._max_each = max_running_each
        self._share = min(max_running_each, max(1, max_running // slots))
        self._running = 0
        self._waiting = 0
        self._now = 0  # events so far
        self._usual = float(slots)  # events while a request runs
        self._round = 0  # when it began; who waited for a slot then is still waiting
        self._flows: dict[Hashable, _Flow] = {}
        self._active: dict[Hashable, _Flow] = {}  # longest active first
        self._slotless: OrderedDict[Hashable, _Flow] = OrderedDict()  # waiting only, by place
        self._closed: dict[_Flow, int] = {}  # how many more each is granted; first closed first

    def take(self, flow: Hashable, *, gives_way: bool = False) -> Turn:
        """Return a turn to join with, and to leave with in any case."""
        return Turn(flow, gives_way=gives_way)

    def snapshot(self) -> TurnStats:
        """Count what runs and what waits."""
        return TurnStats(self._running, self._waiting, len(self._active))

    def is_free(self, flow: Hashable, *, gives_way: bool = False) -> bool:
        """Tell whether a turn of this flow would run at once; nobody is passed over for it.

        False also where that took closing or reopening flows.
        """
        known = self._flows.get(flow) or _Flow(flow)
        if (
            not self._has_room(known, gives_way=gives_way)
            or known.waiting
            or self._closed.get(known) is not None
        ):
            return False
        return len(known.running) > 0 or not self._slotless

    def join(self, turn: Turn) -> None:
        """Run the turn at once, or have it wait for `granted`."""
        flow = self._flows.get(turn.flow)
        if flow is None:
            flow = self._flows[turn.flow] = _Flow(turn.flow)
        is_free = self._waiting == 0 and self._has_room(flow, gives_way=turn.gives_way)
        if is_free or (turn.gives_way and self.is_free(turn.flow, gives_way=True)):
            self._start(flow, turn)
            return
        turn.granted = asyncio.Event()
        flow.waiting[turn] = None
        self._waiting += 1
        if len(flow.waiting) == 1:
            self._line_up(flow)
        self._advance()

    def leave(self, turn: Turn) -> None:
        """End the turn, whether it runs or waits; nobody can tell that it waited."""
        flow = self._flows[turn.flow]
        if turn.is_running:
            self._stop(flow, turn)
        else:
            del flow.waiting[turn]
            self._waiting -= 1
            if not flow.waiting:
                self._slotless.pop(flow.key, None)
        if not flow.running and not flow.waiting:
            del self._flows[flow.key]
        if self._waiting or self._closed:
            self._advance()

    def _has_room(self, flow: _Flow, *, gives_way: bool) -> bool:
        most_of_it = self._max_running if gives_way else self._max_each
        if self._running >= self._max_running or len(flow.running) >= most_of_it:
            return False
        return len(flow.running) > 0 or len(self._active) < self._slots

    def _tick(self) -> int:
        self._now += 1
        return self._now

    def _start(self, flow: _Flow, turn: Turn) -> None:
        turn.began = self._tick()
        turn.is_running = True
        self._active[flow.key] = flow
        flow.running[turn] = None
        self._running += 1

    def _stop(self, flow: _Flow, turn: Turn) -> None:
        length = min(self._tick() - turn.began, _LASTING * self._usual)
        self._usual += (length - self._usual) / 16
        del flow.running[turn]
        self._running -= 1
        if not flow.running:
            del self._active[flow.key]
            self._closed.pop(flow, None)
            if flow.waiting:
                self._line_up(flow)

    def _line_up(self, flow: _Flow) -> None:
        flow.place = self._tick()
        if not flow.running:
            self._slotless[flow.key] = flow

    def _advance(self) -> None:
        self._grant()
        if self._slotless or self._closed:
            self._balance()
            self._grant()

    def _grant(self) -> None:
        while self._running < self._max_running and (flow := self._next()) is not None:
            turn, _ = flow.waiting.popitem(last=False)
            self._waiting -= 1
            self._slotless.pop(flow.key, None)
            self._start(flow, turn)
            flow.place = turn.began
            if flow in self._closed:
                self._closed[flow] -= 1
            assert turn.granted is not None, "it was waiting"
            turn.granted.set()

    def _next(self) -> _Flow | None:
        each, closed, active = self._max_each, self._closed, self._active.values()
        ready = [f for f in active if f.waiting and len(f.running) < each and closed.get(f) != 0]
        if self._slotless and len(self._active) < self._slots:
            ready.append(next(iter(self._slotless.values())))
        return min(ready, key=lambda flow: flow.place, default=None)

    def _balance(self) -> None:
        """Close and reopen flows as those who wait for a slot require."""
        wanted = len(self._slotless) + len(self._active) - self._slots
        flows = self._to_close(wanted) if wanted > 0 else []
        self._closed = {
            flow: self._closed[flow] if flow in self._closed else self._still_granted(flow)
            for flow in flows
        }

    def _still_granted(self, flow: _Flow) -> int:
        return min(len(flow.waiting), max(0, self._share - len(flow.running)))

    def _to_close(self, wanted: int) -> list[_Flow]:
        if next(iter(self._slotless.values())).place > self._round:
            self._round = self._now
        usable = {flow: flow.usable(self._max_each) for flow in self._active.values()}
        stuck = [f for f in self._closed if self._lasts(f) and f.oldest().began > self._round]
        ranked = [flow for flow in self._closed if flow not in stuck]
        opened = [flow for flow in usable if flow not in self._closed]
        ranked += sorted(opened, key=lambda flow: min(usable[flow], self._share))
        ranked.sort(key=self._lasts)
        spare = sum(usable[flow] for flow in ranked) - self._max_running
        chosen = stuck
        for flow in ranked:
            spare -= usable[flow]
            is_needed = flow is ranked[0] and not (chosen and self._lasts(flow))
            if not is_needed and (spare < 0 or len(chosen) >= wanted):
                break
            chosen.append(flow)
        return chosen

    def _lasts(self, flow: _Flow) -> bool:
        return self._now - flow.oldest().began > _LASTING * self._usual
