"""Whose requests use which adapters of one engine, and how much of that is left to batch lines.

The engine runs `slots` adapters at once, and `each` requests of one. Unless they are alone, batch
lines leave one slot and a part of `each` free; alone, all that run may be of one. They take no slot
at all that somebody else waits for. Counts only: turns themselves are given by the registry.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from math import ceil, inf

from adapters_registry.host import AdapterHost


class AdapterUse:
    """The adapters of one engine; without a host there is no bound."""

    def __init__(self, host: AdapterHost | None, reserve: float) -> None:
        self._slots: float = inf if host is None else host.slots
        self._all: float = inf if host is None else host.max_running
        self._each: float = inf if host is None else host.max_running_each
        self._spare_slots = max(1, self._slots - 1)
        kept = 0 if host is None else ceil(host.max_running_each * reserve)
        self._spare_each = max(1, self._each - kept)
        self._asked: Counter[Hashable] = Counter()
        self.lines: Counter[Hashable] = Counter()

    @contextmanager
    def asking(self, adapter: Hashable) -> Iterator[None]:
        """Count a request that waits for its turn or has it, and that is no batch line."""
        self._asked[adapter] += 1
        try:
            yield
        finally:
            _decrease(self._asked, adapter)

    def begin_line(self, adapter: Hashable) -> None:
        self.lines[adapter] += 1

    def end_line(self, adapter: Hashable) -> None:
        _decrease(self.lines, adapter)

    def most_adapters(self, *, is_alone: bool) -> float:
        """Return how many adapters lines may ask at once."""
        return self._slots if is_alone else self._spare_slots

    def lacks_share(self, adapter: Hashable, *, is_alone: bool) -> bool:
        """Tell whether a line has to wait until lines of another adapter have ended."""
        most = self.most_adapters(is_alone=is_alone)
        return adapter not in self.lines and len(self.lines) >= most

    def lacks_room(self, adapter: Hashable, *, is_alone: bool) -> bool:
        """Tell whether a line of it would take what others wait for, or are to find free."""
        if is_alone and self.lines.total() >= self._all:
            return True
        if not is_alone and self._asked[adapter] + self.lines[adapter] >= self._spare_each:
            return True
        return len(self._asked.keys() | self.lines.keys() | {adapter}) > self._slots

    def lacks_seats(self, adapter: Hashable, staying: int) -> int:
        """Return how many of its lines that stay are too many for those who ask for it."""
        return int(max(0, min(self._asked[adapter] + staying - self._each, staying)))

    def lacks_slots(self, staying: Collection[Hashable]) -> bool:
        """Tell whether those who ask and lines of these adapters together want too many slots."""
        return len(self._asked.keys() | staying) > self._slots

    def is_asked(self, adapter: Hashable) -> bool:
        return adapter in self._asked


def _decrease(counter: Counter[Hashable], key: Hashable) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
