"""How much each engine is given at once, by service tier; what is too much is told at once.

vLLM queues without end and its priorities only order the queue, so the bound stands here. An engine
runs `max_running` requests, and its KV cache holds `cache_tokens`; a multiple of both may wait. A
long prompt takes more of the second, so a few of them fill a queue that takes many short ones.

on_demand and performance wait in the engine's queue, the latter in front and in a reserve of places
of its own. Flex and batch take what could run now, less the same reserve: what they run cannot be
interrupted. Rendering takes a place too, so that a prompt nobody can run costs no tokenizer.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Literal, NamedTuple, get_args

from adapters_registry.errors import RegistryError
from app.engine.base import ModelCard
from app.errors import ApiError, capacity_exceeded, over_capacity
from app.inference.tiers import Tier

Reason = Literal["requests", "tokens", "adapter", "engine"]
"""What there is too much of, or who refuses: the adapter's turn does not come, vLLM's own queue."""

REASONS: tuple[Reason, ...] = get_args(Reason)

SHORTEST_SECONDS, LONGEST_SECONDS = 1, 60
"""Of a `retry-after`: both SDKs heed it within these."""

REMEMBERED_ENDS = 64


class Amount(NamedTuple):
    """Requests, and the tokens of their prompts."""

    requests: int
    tokens: int

    def exceeded(self, most: "Amount") -> Reason | None:
        """Return which of the two is more than that."""
        if self.requests > most.requests:
            return "requests"
        return "tokens" if self.tokens > most.tokens else None


@dataclass(frozen=True, slots=True)
class GateStats:
    """One model's gate in numbers. `inside` runs or waits; `waiting` cannot run yet."""

    inside: Mapping[Tier, int]
    waiting: int
    tokens: int
    refused: Mapping[tuple[Tier, Reason], int]


class _Pace:
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
class _Gate:
    at_once: Amount
    most: Mapping[Tier, Amount]
    inside: Counter[Tier] = field(default_factory=Counter)
    tokens: int = 0
    refused: Counter[tuple[Tier, Reason]] = field(default_factory=Counter)
    pace: _Pace = field(init=False)

    def __post_init__(self) -> None:
        self.pace = _Pace(self.at_once.requests)

    def requests(self) -> int:
        return self.inside.total()

    def lacks(self, tier: Tier, tokens: int) -> Reason | None:
        """Return why a request may not come in; alone, a prompt of any length may."""
        requests = self.requests()
        if requests == 0:
            return None
        return Amount(requests + 1, self.tokens + tokens).exceeded(self.most[tier])

    def is_busy(self) -> bool:
        """Tell whether all runs that can."""
        return self.requests() >= self.at_once.requests or self.tokens >= self.at_once.tokens

    def waiting(self) -> float:
        """Return how many requests must end before all the others run."""
        if (requests := self.requests()) == 0:
            return 0
        tokens_each = max(1.0, self.tokens / requests)
        too_long = (self.tokens - self.at_once.tokens) / tokens_each
        return max(requests - self.at_once.requests, too_long, 0)


class BoundedAdmission:
    """Counts what is inside each engine and its queue.

    `queue` is how many times as much as runs at once may wait; `reserve` the share of what runs at
    once that performance has for itself. `clock` counts seconds.
    """

    def __init__(
        self,
        cards: Iterable[ModelCard],
        *,
        queue: float,
        reserve: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._gates = {card.id: _gate(card, queue, reserve) for card in cards}

    def check(self, model: str, tier: Tier) -> None:
        """Refuse a request that would find no place now. **Raises:** ApiError, as `enter`."""
        self._check(model, tier, 0)

    @contextmanager
    def rendering(self, model: str, tier: Tier, tokens: int) -> Iterator[None]:
        """Hold a place while a prompt of about so many tokens is rendered.

        **Raises:** ApiError, as `enter`.
        """
        self._check(model, tier, tokens)
        with self._inside(self._gates[model], tier, tokens):
            yield

    @contextmanager
    def enter(self, model: str, tier: Tier, tokens: int) -> Iterator[None]:
        """Hold a place for a prompt of so many tokens, from the queue to the last token.

        **Raises:** ApiError 498 for flex, else 503.
        """
        self._check(model, tier, tokens)
        gate = self._gates[model]
        with self._inside(gate, tier, tokens):
            has_run = True
            try:
                yield
            except RegistryError:
                has_run = False  # a place that is given back at once tells nothing of the pace
                raise
            finally:
                if has_run:
                    gate.pace.end(self._clock())

    def refusal(self, model: str, tier: Tier, reason: Reason) -> ApiError:
        """Count a refusal and return its words, with the time after which to try again."""
        gate = self._gates[model]
        gate.refused[tier, reason] += 1
        if tier == "flex":
            return capacity_exceeded()
        seconds = gate.pace.seconds(max(1.0, gate.waiting()), self._clock())
        retry = min(max(ceil(seconds), SHORTEST_SECONDS), LONGEST_SECONDS)
        return over_capacity(model, retry_after_seconds=retry)

    def stats(self) -> dict[str, GateStats]:
        """Return a snapshot for metrics, by model."""
        return {
            model: GateStats(
                dict(gate.inside), ceil(gate.waiting()), gate.tokens, dict(gate.refused)
            )
            for model, gate in self._gates.items()
        }

    def _check(self, model: str, tier: Tier, tokens: int) -> None:
        reason = self._gates[model].lacks(tier, tokens)
        if reason is not None:
            raise self.refusal(model, tier, reason)

    @contextmanager
    def _inside(self, gate: _Gate, tier: Tier, tokens: int) -> Iterator[None]:
        was_busy = gate.is_busy()
        gate.inside[tier] += 1
        gate.tokens += tokens
        if gate.is_busy() and not was_busy:
            gate.pace.begin(self._clock())
        try:
            yield
        finally:
            gate.inside[tier] -= 1
            gate.tokens -= tokens


def _gate(card: ModelCard, queue: float, reserve: float) -> _Gate:
    at_once = Amount(card.max_running, card.cache_tokens)
    kept = Amount(ceil(card.max_running * reserve), int(card.cache_tokens * reserve))
    spare = Amount(max(1, at_once.requests - kept.requests), at_once.tokens - kept.tokens)
    queued = Amount(*(each + int(each * queue) for each in at_once))
    ahead = Amount(queued.requests + kept.requests, queued.tokens + kept.tokens)
    most: dict[Tier, Amount] = {"performance": ahead, "on_demand": queued}
    most |= {"flex": spare, "batch": spare}
    return _Gate(at_once, most)
