"""How much each engine is given at once, by service tier; what is too much is told at once.

vLLM queues without end and its priorities only order the queue, so the bound stands here. An engine
runs `max_running` requests, and its KV cache holds `cache_tokens`; a multiple of both may wait. A
long prompt takes more of the second, so a few of them fill a queue that takes many short ones.

on_demand and performance wait in the engine's queue, the latter in front and in a reserve of places
of its own. Flex takes what could run now, less the same reserve: what it runs cannot be
interrupted. Batch lines wait in a lane beside the gate for what flex might take, and give it back
to anybody. Rendering takes a place too, so that a prompt nobody can run costs no tokenizer.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass
from math import ceil

from adapters_registry.errors import RegistryError
from adapters_registry.host import AdapterHost
from app.engine.base import ModelCard
from app.errors import ApiError, capacity_exceeded, over_capacity
from app.inference.adapter_use import AdapterUse
from app.inference.gate import Reason, make_gate
from app.inference.spare import Line, SpareLane
from app.inference.tiers import Tier

SHORTEST_SECONDS, LONGEST_SECONDS = 1, 60
"""Of a `retry-after`: both SDKs heed it within these."""

NO_HOSTS: Mapping[str, AdapterHost] = {}


@dataclass(frozen=True, slots=True)
class GateStats:
    """One model's gate in numbers. `inside` runs or waits; `waiting` cannot run yet.

    `lines_waiting` are batch lines that are not inside, `displaced` those that gave way so far.
    """

    inside: Mapping[Tier, int]
    waiting: int
    tokens: int
    refused: Mapping[tuple[Tier, Reason], int]
    lines_waiting: int
    displaced: int


class BoundedAdmission:
    """Counts what is inside each engine and its queue.

    `queue` is how many times as much as runs at once may wait; `reserve` the share of what runs at
    once that performance has for itself; `batch_share` the share that batch lines may have while
    others ask. `hosts` are the models' adapters, by model. `clock` counts seconds.
    """

    def __init__(
        self,
        cards: Iterable[ModelCard],
        *,
        queue: float,
        reserve: float = 0.1,
        batch_share: float = 1.0,
        hosts: Mapping[str, AdapterHost] = NO_HOSTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._gates = {card.id: make_gate(card, queue, reserve) for card in cards}
        self._lanes = {
            model: SpareLane(
                gate, AdapterUse(hosts.get(model), reserve), share=batch_share, clock=clock
            )
            for model, gate in self._gates.items()
        }

    def check(self, model: str, tier: Tier) -> None:
        """Refuse a request that would find no place now. **Raises:** ApiError, as `enter`."""
        self._check(model, tier, 0)

    @contextmanager
    def rendering(self, model: str, tier: Tier, tokens: int) -> Iterator[None]:
        """Hold a place while a prompt of about so many tokens is rendered.

        **Raises:** ApiError, as `enter`.
        """
        self._check(model, tier, tokens)
        with self._inside(model, tier, tokens):
            yield

    @contextmanager
    def enter(self, model: str, tier: Tier, tokens: int) -> Iterator[None]:
        """Hold a place for a prompt of so many tokens, from the queue to the last token.

        **Raises:** ApiError 498 for flex, else 503.
        """
        self._check(model, tier, tokens)
        gate = self._gates[model]
        with self._inside(model, tier, tokens):
            has_run = True
            try:
                yield
            except RegistryError:
                has_run = False  # a place that is given back at once tells nothing of the pace
                raise
            finally:
                if has_run:
                    gate.pace.end(self._clock())

    def turn(self, model: str, adapter: Hashable) -> AbstractContextManager[bool]:
        """Count a request of an adapter from before its lease, and have lines give way to it.

        Yields whether lines are leaving, so that a turn may be free soon.
        """
        return self._lanes[model].turn(adapter)

    def spare(self, model: str, line: Line) -> AbstractAsyncContextManager[None]:
        """Wait for a place that a batch line can have, and hold it; cancelling gives it back.

        Where the block raises AdapterCapacityExceeded, lines of that adapter wait a while longer.
        """
        return self._lanes[model].place(line)

    def has_turn(self, model: str, adapter: Hashable) -> None:
        """Take note that a batch line has leased its adapter."""
        self._lanes[model].has_turn(adapter)

    def spare_places(self, model: str) -> int:
        """Return how many batch lines of a model are in the engine where nobody else asks it."""
        return self._lanes[model].most_alone.requests

    def spare_adapters(self, model: str) -> float:
        """Return how many adapters of a model batch lines may ask at once now."""
        return self._lanes[model].most_adapters

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
        return {model: self._stats(model) for model in self._gates}

    def _stats(self, model: str) -> GateStats:
        gate, lane = self._gates[model], self._lanes[model]
        return GateStats(
            dict(gate.requests),
            ceil(gate.waiting()),
            gate.inside.tokens,
            dict(gate.refused),
            lane.waiting,
            lane.displaced,
        )

    def _check(self, model: str, tier: Tier, tokens: int) -> None:
        reason = self._gates[model].lacks(tier, tokens)
        if reason is not None:
            raise self.refusal(model, tier, reason)

    @contextmanager
    def _inside(self, model: str, tier: Tier, tokens: int) -> Iterator[None]:
        gate, lane = self._gates[model], self._lanes[model]
        was_busy = gate.is_busy()
        gate.add(tier, tokens)
        if gate.is_busy() and not was_busy:
            gate.pace.begin(self._clock())
        lane.make_room()
        try:
            yield
        finally:
            gate.remove(tier, tokens)
            lane.others_left()
