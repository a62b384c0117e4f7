"""`lora-api serve` with the product's limits of batches taken away, to show what they do.

Batch lines come in at once and never give way; only vLLM's own order by priority is left between
them and others. For measuring and nothing else.
"""

from collections.abc import Hashable

from app.cli import main
from app.engine.base import ModelCard
from app.inference import adapter_use, admission, gate

PLENTY = 8
"""So many times what may run at once is as good as no limit: a process takes on no more lines."""


class BoundlessUse(adapter_use.AdapterUse):
    """Adapters of which lines may take every slot and every place."""

    def lacks_share(self, adapter: Hashable, *, is_alone: bool) -> bool:
        return False

    def lacks_room(self, adapter: Hashable, *, is_alone: bool) -> bool:
        return False

    def lacks_seats(self, adapter: Hashable, staying: int) -> int:
        return 0

    def lacks_slots(self, staying: object) -> bool:
        return False


def boundless_gate(card: ModelCard, queue: float, reserve: float) -> gate.Gate:
    """Make a gate that nobody is kept out of."""
    made = gate.make_gate(card, queue, reserve)
    plenty = gate.Amount(PLENTY * card.max_running, PLENTY * card.cache_tokens)
    return gate.Gate(plenty, dict.fromkeys(made.most, plenty))


def take_limits_away() -> None:
    """Have admission made with these. **Raises:** LookupError where it is made of other parts."""
    parts = {"make_gate": boundless_gate, "AdapterUse": BoundlessUse}
    if missing := parts.keys() - vars(admission).keys():
        raise LookupError(f"app.inference.admission has no {', '.join(sorted(missing))}")
    vars(admission).update(parts)


if __name__ == "__main__":
    take_limits_away()
    main(["serve"])
