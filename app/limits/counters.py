"""Counters that forget, and those that this process keeps in memory.

They are ours: the memory storage of the library `limits` walks over all its keys at each increment,
which takes more than a millisecond with 20 000 of them.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

FORGOTTEN_AT_ONCE = 2


class CountersUnavailable(Exception):
    """The counters did not answer, or not in time; what was asked may have been done.

    Its text is the kind of error alone: a library's own text may hold the server's address.
    """


class Addition(NamedTuple):
    """A change of one counter, which may be negative or, to read it, zero.

    A counter is forgotten `seconds` after its first change at the earliest.
    """

    key: str
    amount: int
    seconds: int


class Counters(Protocol):
    """Named counters, shared by all who count in the same place."""

    async def add(self, additions: Sequence[Addition]) -> list[int]:
        """Change the counters and return the new counts, in order. **Raises:** CountersUnavailable.

        Each change is atomic; all of them together are not.
        """

    async def close(self) -> None:
        """Let go of connections."""


@dataclass(slots=True)
class _Counter:
    count: int
    forgotten_at: float


class MemoryCounters:
    """Counters of this process. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # By lifetime: within one, the counters that were made first are forgotten first.
        self._counters: dict[int, OrderedDict[str, _Counter]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._counters.values()))

    async def add(self, additions: Sequence[Addition]) -> list[int]:
        """Change the counters, all at once: nothing else runs in between."""
        now = self._clock()
        return [self._add(addition, now) for addition in additions]

    async def close(self) -> None:
        """Forget everything."""
        self._counters.clear()

    def _add(self, addition: Addition, now: float) -> int:
        key, amount, seconds = addition
        counters = self._counters.setdefault(seconds, OrderedDict())
        _forget(counters, now)
        counter = counters.get(key)
        if counter is None:
            counter = counters[key] = _Counter(0, now + seconds)
        counter.count += amount
        return counter.count


def _forget(counters: OrderedDict[str, _Counter], now: float) -> None:
    # Two for each that may come: the rest of a burst goes bit by bit, and none stays.
    for _ in range(FORGOTTEN_AT_ONCE):
        oldest = next(iter(counters.values()), None)
        if oldest is None or now < oldest.forgotten_at:
            return
        counters.popitem(last=False)
