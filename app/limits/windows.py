"""Windows: fixed spans of time, one counter each, named by their number.

A number is part of a counter's key, so nothing can ever be credited to another window than the one
that was charged. The windows of an organisation begin at a moment of its own: clients that were
refused do not all come back in the same second.
"""

import zlib
from dataclasses import dataclass
from typing import NamedTuple

from app.limits.counters import Addition
from app.limits.dimensions import Limit
from app.limits.plans import FLEX


class Window(NamedTuple):
    """One window of one limit; `end` is in Unix seconds."""

    limit: Limit
    key: str
    end: float

    def addition(self, amount: int) -> Addition:
        """Return what changes the window's counter by `amount`."""
        return Addition(self.key, amount, self.limit.dimension.seconds)


def pool(tier: str) -> str:
    """Name the counters of a tier: flex has its own, the others share theirs."""
    return FLEX if tier == FLEX else "standard"


@dataclass(frozen=True, slots=True)
class Account:
    """Whose budget is charged. `model` is the base model's id, for its adapters too."""

    org_id: str
    model: str
    tier: str

    def windows(self, limits: tuple[Limit, ...], now: float) -> list[Window]:
        """Return the window of each limit at this time."""
        prefix = f"{self.org_id}/{self.model}/{pool(self.tier)}"
        phase = zlib.crc32(self.org_id.encode())
        return [_window(limit, prefix, phase % limit.dimension.seconds, now) for limit in limits]


def _window(limit: Limit, prefix: str, phase: int, now: float) -> Window:
    name, _, _, seconds = limit.dimension
    number = int((now + phase) // seconds)
    return Window(limit, f"{prefix}/{name}/{number}", (number + 1) * seconds - phase)
