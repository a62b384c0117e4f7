"""Batch lines at one engine: they take what nobody else wants, and give it back when asked.

A line waits until it has room, the oldest first: below the reserve while others ask the engine, and
at some distance from the line before it; in all of it, and at once, when nobody else does. Lines of
an adapter that can have no turn are passed over, and so is a prompt too long to fit beside what
others ask: it runs when they are gone. Of an adapter that has no turn yet one line goes ahead, and
brings it in for the others. Who needs a place or a turn that lines hold has the youngest of them
give way, and no more of them than it takes; asked again under the same id, a line is as old as it
was. Refused: waiting with a place in hand, and having anybody else wait for a line's end.
"""

import asyncio
from bisect import insort
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from math import ceil, inf
from operator import attrgetter

from adapters_registry.errors import AdapterCapacityExceeded
from app.errors import ApiError
from app.inference.adapter_use import AdapterUse
from app.inference.gate import Amount, Gate, Reason
from app.inference.spacing import Spacing

QUIET_SECONDS = 1.0
"""So long after the last request of others, lines have the engine to themselves."""

SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0
"""Between tries for an adapter's turn while nothing ends that might have made one free."""

REMEMBERED_AGES = 4096

OVERTAKING = 4
"""So many times what may run can pass a line whose adapter waits for another's lines to end."""


class Displaced(ApiError):
    """503: a batch line gave way to other requests. It is to be run again, and has used nothing."""

    def __init__(self) -> None:
        message = "The request gave way to others and has to be sent again."
        super().__init__(503, message, type="internal_server_error", headers={"retry-after": "1"})


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `id` is the same when it is asked again, `tokens` are its prompt's.

    `give_way` is to end it soon, as if it were cancelled; it must not raise.
    """

    id: str
    tokens: int
    adapter: Hashable | None
    give_way: Callable[[], None]


@dataclass(eq=False, slots=True)
class Place:
    """A line that waits for its place, or has it."""

    line: Line
    age: int
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    begun_at: float = 0.0
    is_leaving: bool = False

    @property
    def amount(self) -> Amount:
        return Amount(1, self.line.tokens)


_age = attrgetter("age")


def _loss(lines: Sequence[Place]) -> tuple[int, int]:
    """Rank adapters by how little is lost with their lines: the fewest, then the youngest."""
    return len(lines), -lines[0].age


def in_and_before(at_once: Amount) -> Amount:
    """Return what an engine of lines alone is given: what runs at once, and as many after these.

    Lines of one length end in the same step, and the next step is to have as many again.
    """
    return at_once.plus(Amount(at_once.requests, 0))


class SpareLane:
    """The batch lines of one gate. `share` is what they may have of it beside other requests.

    `clock` counts seconds.
    """

    def __init__(
        self, gate: Gate, adapters: AdapterUse, *, share: float, clock: Callable[[], float]
    ) -> None:
        self._gate = gate
        self._adapters = adapters
        self._clock = clock
        self._spare = gate.most["batch"]
        self._beside = max(1, min(self._spare.requests, ceil(gate.at_once.requests * share)))
        self.most_alone = in_and_before(gate.at_once)
        self._waiting: list[Place] = []  # oldest first, as those that run
        self._running: list[Place] = []
        self._leaving = Amount(0, 0)
        self._ages: dict[str, int] = {}
        self._new_age = count(1)
        self._with_turn: set[Hashable] = set()
        self._held_back: dict[Hashable, asyncio.TimerHandle] = {}
        self._pauses: dict[Hashable, float] = {}
        self._asked_at = clock()
        self._spacing = Spacing(self._beside)
        self._wake: asyncio.Handle | None = None
        self._wakes_at = 0.0
        self.displaced = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_alone(self) -> bool:
        """Whether nobody else asks the engine, or did a moment ago."""
        quiet = self._clock() - self._asked_at
        return self._gate.others.requests == 0 and quiet >= QUIET_SECONDS

    @property
    def most_adapters(self) -> float:
        """How many adapters lines may ask at once now."""
        return self._adapters.most_adapters(is_alone=self.is_alone)

    @asynccontextmanager
    async def place(self, line: Line) -> AsyncIterator[None]:
        """Wait for a place, and hold it until the block ends.

        Where the block raises AdapterCapacityExceeded, lines of that adapter are held back for a
        while. It tells `has_turn` when it has the adapter.
        """
        place = Place(line, self._age_of(line))
        insort(self._waiting, place, key=_age)
        has_turn = True
        try:
            self.admit()
            await place.granted.wait()
            yield
        except AdapterCapacityExceeded:
            has_turn = False
            raise
        finally:
            self._end(place, has_turn=has_turn)

    def has_turn(self, adapter: Hashable) -> None:
        """Take note that a line has its adapter's turn: others of it may come in."""
        self._with_turn.add(adapter)
        self._pauses.pop(adapter, None)
        self.admit()

    def make_room(self) -> None:
        """Have lines give way for a request that has come in, if there are too many now."""
        self._asked_at = self._clock()
        staying = self._gate.inside.less(self._leaving)
        for place in reversed(self._running):
            if staying.exceeded(self._gate.at_once) is None:
                return
            if not place.is_leaving:
                staying = staying.less(place.amount)
                self._displace(place)

    @contextmanager
    def turn(self, adapter: Hashable) -> Iterator[bool]:
        """Have lines give way that hold up a request's turn, and count it until the block ends.

        Yields whether lines are leaving.
        """
        try:
            with self._adapters.asking(adapter):
                self._make_seats(adapter)
                self._make_slots()
                yield self._leaving.requests > 0
        finally:
            self.others_left()

    def others_left(self) -> None:
        """Let lines in where others have left something free."""
        self._asked_at = self._clock()
        self._hold_nobody_back()
        self.admit()

    def admit(self) -> None:
        """Let lines in, oldest first, as far as there is room for them."""
        if not self._waiting:
            return
        overtaken, is_alone = inf, self._is_alone_now()
        for place in list(self._waiting):
            if not is_alone and self._comes_too_soon():
                return
            adapter = place.line.adapter
            if adapter is not None:
                if self._adapters.lacks_share(adapter, is_alone=is_alone):
                    overtaken = min(overtaken, place.age)
                    continue
                is_shut = self._is_shut(adapter, is_alone=is_alone)
                if is_shut or place.age > overtaken + self._most_overtaking:
                    continue
            if (reason := self._lacks(place, is_alone=is_alone)) is None:
                self._begin(place)
            elif reason == "requests" or self._would_fit(place):
                return

    @property
    def _most_overtaking(self) -> int:
        return OVERTAKING * self._spare.requests

    def _is_shut(self, adapter: Hashable, *, is_alone: bool) -> bool:
        """Tell whether no line of the adapter may try now."""
        is_coming = adapter in self._adapters.lines and adapter not in self._with_turn
        is_held_back = is_coming or adapter in self._held_back
        return is_held_back or self._adapters.lacks_room(adapter, is_alone=is_alone)

    def _lacks(self, place: Place, *, is_alone: bool) -> Reason | None:
        """Return why a line may not come in."""
        if not is_alone and self._gate.requests["batch"] >= self._beside:
            return "requests"
        most = self.most_alone if is_alone else None
        return self._gate.lacks("batch", place.line.tokens, most)

    def _is_alone_now(self) -> bool:
        """Tell whether they are alone; if they will be soon, see to it that it is asked again."""
        is_alone = self.is_alone
        if not is_alone and self._gate.others.requests == 0:
            quiet = self._clock() - self._asked_at
            self._wake_in(max(QUIET_SECONDS - quiet, 0.01))
        return is_alone

    def _comes_too_soon(self) -> bool:
        """Tell whether a line would come in close behind another, beside requests of others."""
        wait = self._spacing.wait(self._clock())
        if wait:
            self._wake_in(wait)
        return wait > 0

    def _wake_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        moment = loop.time() + seconds
        if self._wake is not None:
            if self._wakes_at <= moment:
                return
            self._wake.cancel()
        self._wakes_at = moment
        self._wake = loop.call_later(seconds, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self.admit()

    def _would_fit(self, place: Place) -> bool:
        """Tell whether a place would do once the lines before it have ended."""
        others = self._gate.others
        return others.requests == 0 or others.plus(place.amount).exceeded(self._spare) is None

    def _begin(self, place: Place) -> None:
        self._waiting.remove(place)
        insort(self._running, place, key=_age)
        place.begun_at = self._clock()
        self._spacing.began(place.begun_at)
        self._gate.add("batch", place.line.tokens)
        if place.line.adapter is not None:
            self._adapters.begin_line(place.line.adapter)
        place.granted.set()

    def _end(self, place: Place, *, has_turn: bool) -> None:
        if not place.granted.is_set():
            self._waiting.remove(place)
        else:
            self._leave(place)
            if has_turn:
                self._hold_nobody_back()
            else:
                self._hold_back(place.line.adapter)
            if place.is_leaving or not has_turn:
                self._remember(place)
            else:
                self._spacing.ended(self._clock() - place.begun_at)
        self.admit()

    def _leave(self, place: Place) -> None:
        self._running.remove(place)
        self._gate.remove("batch", place.line.tokens)
        if place.is_leaving:
            self._leaving = self._leaving.less(place.amount)
        if (adapter := place.line.adapter) is not None:
            self._adapters.end_line(adapter)
            if adapter not in self._adapters.lines:
                self._with_turn.discard(adapter)

    def _make_seats(self, adapter: Hashable) -> None:
        staying = self._staying(adapter)
        too_many = self._adapters.lacks_seats(adapter, len(staying))
        self._displace_all(staying[len(staying) - too_many :])

    def _make_slots(self) -> None:
        """Have all lines of an adapter give way, of the one with fewest, while slots are short."""
        while self._adapters.lacks_slots(staying := self._by_adapter()):
            idle = [lines for each, lines in staying.items() if not self._adapters.is_asked(each)]
            if not idle:
                return
            self._displace_all(min(idle, key=_loss))

    def _by_adapter(self) -> dict[Hashable, list[Place]]:
        return {each: lines for each in self._adapters.lines if (lines := self._staying(each))}

    def _staying(self, adapter: Hashable) -> list[Place]:
        return [p for p in self._running if p.line.adapter == adapter and not p.is_leaving]

    def _displace_all(self, places: Sequence[Place]) -> None:
        for place in places:
            self._displace(place)

    def _displace(self, place: Place) -> None:
        place.is_leaving = True
        self._leaving = self._leaving.plus(place.amount)
        self.displaced += 1
        place.line.give_way()

    def _hold_back(self, adapter: Hashable) -> None:
        pause = self._pauses.get(adapter, SHORTEST_PAUSE_SECONDS)
        self._pauses[adapter] = min(2 * pause, LONGEST_PAUSE_SECONDS)
        if adapter not in self._held_back:
            loop = asyncio.get_running_loop()
            self._held_back[adapter] = loop.call_later(pause, self._try_again, adapter)

    def _try_again(self, adapter: Hashable) -> None:
        del self._held_back[adapter]
        self.admit()

    def _hold_nobody_back(self) -> None:
        for timer in self._held_back.values():
            timer.cancel()
        self._held_back.clear()

    def _age_of(self, line: Line) -> int:
        return self._ages.pop(line.id, None) or next(self._new_age)

    def _remember(self, place: Place) -> None:
        self._ages[place.line.id] = place.age
        if len(self._ages) > REMEMBERED_AGES:
            del self._ages[next(iter(self._ages))]
