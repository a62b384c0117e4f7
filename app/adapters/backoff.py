"""When something that failed is tried again: each failure in a row doubles the rounds between.

Counted in rounds and kept in memory; a new process starts anew.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

LONGEST = 32
"""Rounds from one try to the next, at most."""


@dataclass(slots=True)
class _Failures:
    count: int = 0
    rounds_left: int = 0


class Backoff(Generic[T]):
    """Knows what failed among the work of one series of rounds."""

    def __init__(self) -> None:
        self._failed: dict[T, _Failures] = {}

    def due(self, wanted: Iterable[T]) -> list[T]:
        """Begin a round: return what is to be tried in it, and forget what is not wanted."""
        work = list(wanted)
        self._failed = {item: self._failed[item] for item in work if item in self._failed}
        for failures in self._failed.values():
            failures.rounds_left -= 1
        return [item for item in work if not self._waits(item)]

    def failed(self, item: T) -> None:
        """Put it off: to the next round at first, then to the one after that, and so on."""
        failures = self._failed.setdefault(item, _Failures())
        failures.rounds_left = min(2**failures.count, LONGEST)
        failures.count += 1

    def _waits(self, item: T) -> bool:
        return item in self._failed and self._failed[item].rounds_left > 0
