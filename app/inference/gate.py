"""What is inside one engine and its queue: counts by tier, bounds, and how fast places become free.

Only numbers: who is refused, who waits and who gives way is decided by those that count here.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Literal, NamedTuple, get_args

from app.engine.base import ModelCard
from app.inference.tiers import Tier

Reason = Literal["requests", "tokens", "adapter", "engine"]
"""What there is too much of, or who refuses: the adapter's turn does not come, vLLM's own queue."""

REASONS: tuple[Reason, ...] = get_args(Reason)

REMEMBERED_ENDS = 64


class Amount(NamedTuple):
    """Requests, and the tokens of their prompts."""

    requests: int
    tokens: int

    def plus(self, other: "Amount") -> "Amount":
        return Amount(self.requests + other.requests, self.tokens + other.tokens)

    def less(self, other: "Amount") -> "Amount":
        return Amount(self.requests - other.requests, self.tokens - other.tokens)

    def exceeded(self, most: "Amount") -> Reason | None:
        """Return which of the two is more than that."""
        if self.requests > most.requests:
            return "requests"
        return "tokens" if self.tokens > most.tokens else None


class Pace:
    """How fast places have become free since the engine has had all it can run.

    Before that it is asked for less than it can do, which tells nothing of how fast it is.
    """

    def __init__(self, running: int) -> None:
        self._running = running
        self._moments: deque[float] = deque(maxlen=max(running, REMEMBERED_ENDS) + 1)

    def begin(self, now: float) -> None:
        self._moments.clear()
        self._moments.append(now)

    def end(self, now: float) -> None:
        if self._moments:
            self._moments.append(now)

    def seconds(self, places: float, now: float) -> float:
        """Return how long so many places take to become free."""
        if not self._moments:
            return 0.0
        # Those that run now end in about the same time, so few ends of late do not mean few soon.
        ends = max(self._running, len(self._moments) - 1)
        return places * (now - self._moments[0]) / ends


@dataclass(slots=True)
class Gate:
    """One engine's counts. Batch lines give way, so they keep nobody else out."""

    at_once: Amount
    most: Mapping[Tier, Amount]
    requests: Counter[Tier] = field(default_factory=Counter)
    tokens: Counter[Tier] = field(default_factory=Counter)
    refused: Counter[tuple[Tier, Reason]] = field(default_factory=Counter)
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        self.pace = Pace(self.at_once.requests)

    def add(self, tier: Tier, tokens: int) -> None:
        self.requests[tier] += 1
        self.tokens[tier] += tokens

    def remove(self, tier: Tier, tokens: int) -> None:
        self.requests[tier] -= 1
        self.tokens[tier] -= tokens

    @property
    def inside(self) -> Amount:
        return Amount(self.requests.total(), self.tokens.total())

    @property
    def others(self) -> Amount:
        """All but the lines of batches."""
        return self.inside.less(Amount(self.requests["batch"], self.tokens["batch"]))

    def lacks(self, tier: Tier, tokens: int, most: Amount | None = None) -> Reason | None:
        """Return why a request may not come in; alone, a prompt of any length may.

        `most` stands in for the tier's own bound.
        """
        before = self.inside if tier == "batch" else self.others
        if before.requests == 0:
            return None
        return before.plus(Amount(1, tokens)).exceeded(most or self.most[tier])

    def is_busy(self) -> bool:
        """Tell whether all runs that can."""
        inside = self.inside
        return inside.requests >= self.at_once.requests or inside.tokens >= self.at_once.tokens

    def waiting(self) -> float:
        """Return how many requests must end before all the others run."""
        requests, tokens = self.inside
        if requests == 0:
            return 0
        tokens_each = max(1.0, tokens / requests)
        too_long = (tokens - self.at_once.tokens) / tokens_each
        return max(requests - self.at_once.requests, too_long, 0)


def make_gate(card: ModelCard, queue: float, reserve: float) -> Gate:
    """Make the gate of a model that holds nobody; see `BoundedAdmission` for the two shares."""
    at_once = Amount(card.max_running, card.cache_tokens)
    kept = Amount(ceil(card.max_running * reserve), int(card.cache_tokens * reserve))
    spare = Amount(max(1, at_once.requests - kept.requests), at_once.tokens - kept.tokens)
    queued = Amount(*(each + int(each * queue) for each in at_once))
    most: dict[Tier, Amount] = {"performance": queued.plus(kept), "on_demand": queued}
    most |= {"flex": spare, "batch": spare}
    return Gate(at_once, most)
