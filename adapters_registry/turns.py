"""Fair admission in front of one engine: whose request may run next.

Owns the bookkeeping of running and waiting requests by flow (one adapter, one flow), so that the
engine is never handed more different adapters than it has slots for: it would serve those it holds
and let the others starve. Synchronous but for the waiting itself: no task, no clock. Refused:
overtaking inside a flow, and giving a flow more turns because it asks more often.

Waiting flows form a ring; who was granted goes to its end. A flow is active while it has running
requests, and an active flow holds a slot. While flows wait for a slot, active ones are closed: they
get at most their share of the seats out of what waits already, and lose the slot when their last
request ends. First to be closed is the one that can use least; among those that can use a whole
share, the longest active. One stays closed for as long as anybody waits for a slot; others only
while the open flows can fill the engine without them. So each wait is bounded by the length of
requests and the place in the ring, however fast others send, and few seats stay empty for it.
"""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple


class TurnStats(NamedTuple):
    """A snapshot for metrics: requests that run and that wait, and flows that hold a slot."""

    running: int
    waiting: int
    active_flows: int


class Turn:
    """One request's place in the queue, then in the engine. To be entered once."""

    __slots__ = ("_turns", "flow", "granted", "is_running")

    def __init__(self, turns: "Turns", flow: Hashable) -> None:
        self._turns = turns
        self.flow = flow
        self.is_running = False
        self.granted: asyncio.Event | None = None
        """Set with `is_running`; there is none where the turn came at once."""

    async def __aenter__(self) -> None:
        self._turns.join(self)
        if self.granted is not None:
            try:
                await self.granted.wait()
            except BaseException:
                self._turns.leave(self)
                raise

    async def __aexit__(self, *_: object) -> None:
        self._turns.leave(self)


@dataclass(eq=False, slots=True)
class _Flow:
    key: Hashable
    running: int = 0
    waiting: OrderedDict[Turn, None] = field(default_factory=OrderedDict)
    place: int = 0  # in the ring, while it waits: the lowest is next
    gate: int | None = None  # how many more it is granted, if it is closed

    def usable(self, seats: int) -> int:
        return min(self.running + len(self.waiting), seats)


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
        self._places = itertools.count()
        self._flows: dict[Hashable, _Flow] = {}
        self._active: dict[Hashable, _Flow] = {}  # longest active first
        self._slotless: OrderedDict[Hashable, _Flow] = OrderedDict()  # waiting only, by place
        self._closed: list[_Flow] = []  # active, first closed first

    def take(self, flow: Hashable) -> Turn:
        """Return a context: entering it waits for the flow's turn, leaving it ends the turn.

        Whoever is cancelled while waiting leaves no trace, also where the turn has just come.
        """
        return Turn(self, flow)

    def snapshot(self) -> TurnStats:
        """Count what runs and what waits."""
        return TurnStats(self._running, self._waiting, len(self._active))

    def join(self, turn: Turn) -> None:
        """Run the turn at once, or have it wait for `granted`."""
        flow = self._flows.get(turn.flow)
        if flow is None:
            flow = self._flows[turn.flow] = _Flow(turn.flow)
        if self._waiting == 0 and self._has_room(flow):
            self._start(flow, turn)
            return
        turn.granted = asyncio.Event()
        flow.waiting[turn] = None
        self._waiting += 1
        if len(flow.waiting) == 1:
            self._line_up(flow)
        self._advance()

    def leave(self, turn: Turn) -> None:
        """End the turn, whether it runs or waits."""
        flow = self._flows[turn.flow]
        if turn.is_running:
            self._stop(flow)
        else:
            del flow.waiting[turn]
            self._waiting -= 1
            if not flow.waiting:
                self._slotless.pop(flow.key, None)
        if flow.running == 0 and not flow.waiting:
            del self._flows[flow.key]
        if self._waiting or self._closed:
            self._advance()

    def _has_room(self, flow: _Flow) -> bool:
        if self._running >= self._max_running or flow.running >= self._max_each:
            return False
        return flow.running > 0 or len(self._active) < self._slots

    def _start(self, flow: _Flow, turn: Turn) -> None:
        if flow.running == 0:
            self._active[flow.key] = flow
        flow.running += 1
        self._running += 1
        turn.is_running = True

    def _stop(self, flow: _Flow) -> None:
        flow.running -= 1
        self._running -= 1
        if flow.running == 0:
            del self._active[flow.key]
            if flow.gate is not None:
                self._closed.remove(flow)
                flow.gate = None
            if flow.waiting:
                self._line_up(flow)

    def _line_up(self, flow: _Flow) -> None:
        flow.place = next(self._places)
        if flow.running == 0:
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
            flow.place = next(self._places)
            if flow.gate is not None:
                flow.gate -= 1
            assert turn.granted is not None, "it was waiting"
            turn.granted.set()

    def _next(self) -> _Flow | None:
        each, active = self._max_each, self._active.values()
        ready = [f for f in active if f.waiting and f.running < each and f.gate != 0]
        if self._slotless and len(self._active) < self._slots:
            ready.append(next(iter(self._slotless.values())))
        return min(ready, key=lambda flow: flow.place, default=None)

    def _balance(self) -> None:
        """Reopen, last closed first, and close, as those who wait for a slot require."""
        each, closed = self._max_each, self._closed
        wanted = len(self._slotless) + len(self._active) - self._slots
        opened = {flow: flow.usable(each) for flow in self._active.values() if flow.gate is None}
        usable = sum(opened.values())
        while len(closed) > max(0, wanted) or (len(closed) > 1 and usable < self._max_running):
            flow = closed.pop()
            flow.gate = None
            opened[flow] = flow.usable(each)
            usable += opened[flow]
        while opened and len(closed) < wanted:
            flow = min(opened, key=lambda flow: min(opened[flow], self._share))
            usable -= opened.pop(flow)
            if closed and usable < self._max_running:
                break
            flow.gate = min(len(flow.waiting), max(0, self._share - flow.running))
            closed.append(flow)
