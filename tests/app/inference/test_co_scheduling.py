"""What a saturating batch costs other requests on a real engine, and what holding it back brings.

The figures are printed; what is asserted leaves room for a busy machine.
"""

from pathlib import Path

import pytest

from tests.app.inference.co_scheduling import Seen, Shared, Traffic, Unheld, shared, unheld
from tests.fixtures.engines import MODEL_ID, TinyEngine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

SECONDS, ROUNDS = 2.0, 3
BASE = (None,)


async def measured(traffic: dict[str, Traffic], seconds: float = SECONDS) -> dict[str, Seen]:
    """Run each kind of traffic in turn, several times: the machine is not always as busy."""
    seen = {name: Seen() for name in traffic}
    for _ in range(ROUNDS):
        for name, each in traffic.items():
            seen[name].add(await each.run(seconds))
    for name, each in seen.items():
        print(f"\n{name:>28}: {each.words()}", end="")
    print()
    return seen


def tell(seen: dict[str, Seen], alone: str, held: str, batch: str) -> None:
    first = seen[held].first_token(99) / seen[alone].first_token(99)
    median = seen[held].first_token(50) / seen[alone].first_token(50)
    print(f"first token, held / alone: p50 {median:.2f}, p99 {first:.2f}")
    print(f"batch rate beside others / alone: {seen[held].rate / seen[batch].rate:.2f}")


def nothing_is_held(way: Shared) -> bool:
    stats = way.admission.stats()[MODEL_ID]
    return (sum(stats.inside.values()), stats.tokens, stats.lines_waiting) == (0, 0, 0)


async def test_a_batch_that_fills_the_engine_hardly_delays_first_tokens(
    tiny_engine: TinyEngine, tmp_path: Path
) -> None:
    async with shared(tiny_engine, tmp_path, 0) as held:
        free = Unheld(tiny_engine, ())
        seen = await measured(
            {
                "requests alone": Traffic(tiny_engine, held),
                "batch alone": Traffic(tiny_engine, held, BASE, asks=False),
                "both, batch held back": Traffic(tiny_engine, held, BASE),
                "both, priorities only": Traffic(tiny_engine, free, BASE),
            }
        )
        tell(seen, "requests alone", "both, batch held back", "batch alone")
        assert nothing_is_held(held)
    held_back, unhindered = seen["both, batch held back"], seen["both, priorities only"]
    assert 3 * held_back.first_token(50) < unhindered.first_token(50)
    assert held_back.rate > 0.5 * seen["batch alone"].rate


async def test_a_batch_that_fills_the_slots_leaves_one_to_other_adapters(
    tiny_engine: TinyEngine, tmp_path: Path
) -> None:
    lines = (0, 1)
    async with shared(tiny_engine, tmp_path, 3) as held:
        seen = await measured(
            {
                "requests alone": Traffic(tiny_engine, held, adapter=2),
                "batch alone": Traffic(tiny_engine, held, lines, asks=False),
                "both, batch held back": Traffic(tiny_engine, held, lines, adapter=2),
            }
        )
        assert nothing_is_held(held)
    async with unheld(tiny_engine, 3) as free:
        seen |= await measured({"both, priorities only": Traffic(tiny_engine, free, lines, 2)})
    tell(seen, "requests alone", "both, batch held back", "batch alone")
    held_back, unhindered = seen["both, batch held back"], seen["both, priorities only"]
    assert 3 * held_back.first_token(50) < unhindered.first_token(50)
