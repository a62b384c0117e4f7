"""How long to wait before something is tried again: longer each time, up to a bound."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

JITTER = 0.25
"""So that those that failed together do not try again together."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds of the first pause, and of the longest."""

    first: float = 0.05
    longest: float = 10.0

    def each(self) -> Iterator[float]:
        """Yield pauses without end."""
        seconds = self.first
        while True:
            yield seconds * random.uniform(1 - JITTER, 1)
            seconds = min(2 * seconds, self.longest)
