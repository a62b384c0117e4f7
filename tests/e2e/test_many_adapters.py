"""Far more adapters than any tier holds, in changing versions: nothing wrong is ever served."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.catalog import Catalog, LoraSpec
from app.engine.factory import start_engines
from app.observability.adapters import AdapterCollector
from tests.e2e.many_adapters import (
    BASE,
    CHANGERS,
    PROMPTS,
    References,
    Scale,
    Traffic,
    ask_alone,
    disk_bytes,
    make_contents,
    resident_bytes,
    wrong_answers,
)
from tests.e2e.replica import GRACE_SECONDS, Replica, running_replica
from tests.fixtures.engines import MODEL_ID, TinyEngine, import_vllm, tiny_spec

pytestmark = pytest.mark.engine

SHORT = Scale(contents=24, present=16, requests=600, at_once=12)
LONG = Scale(contents=200, present=150, requests=5_000, at_once=32)
GROWTH_BYTES = 64 << 20
PAUSE_SECONDS = 0.1
SPARE = 6
IDLE = (
    "lora_api_adapters_leased",
    "lora_api_adapters_pinned",
    "lora_api_adapter_requests_running",
    "lora_api_adapter_requests_waiting",
)


@dataclass(slots=True)
class Peaks:
    """The most that was seen: bytes on disk, bytes of memory early and late in the traffic."""

    disk: int = 0
    early: int = 0
    late: int = 0

    async def watch(self, traffic: Traffic) -> None:
        while not traffic.is_over:
            self.disk = max(self.disk, disk_bytes(traffic.replica.local))
            if 2 * len(traffic.records) < traffic.scale.requests:
                self.early = max(self.early, resident_bytes())
            else:
                self.late = max(self.late, resident_bytes())
            await asyncio.sleep(PAUSE_SECONDS)


@dataclass(slots=True)
class Clock:
    """The orphan sweep's: `ahead` seconds before everybody else's."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


async def prove(tiny: TinyEngine, room: Path, scale: Scale) -> None:
    """Run the traffic, judge every answer, and find every tier empty once all is deleted."""
    references = await ask_alone(tiny, scale.contents)
    assert len(set(references.values())) == (scale.contents + 1) * len(PROMPTS)
    contents, clock = make_contents(tiny, scale.contents), Clock()
    sizes = [disk_bytes(content.directory) for content in contents]
    budget = disk_budget(tiny, sizes)
    assert budget < sum(sizes)
    engines = tiny.engines.running
    async with running_replica(engines, room, cache_bytes=budget, clock=clock) as replica:
        traffic, peaks = Traffic(replica, contents, scale, random.Random(7)), Peaks()
        await traffic.prepare()
        begun = time.perf_counter()
        await asyncio.gather(traffic.run(), peaks.watch(traffic))
        tell(traffic, peaks, budget, time.perf_counter() - begun)
        assert_right(traffic, references)
        assert peaks.disk <= budget + scale.at_once * max(sizes)
        assert peaks.late - peaks.early < GROWTH_BYTES
        await assert_nothing_is_held(replica)
        clock.ahead = 2 * GRACE_SECONDS
        await assert_only_what_is_registered_is_stored(traffic)
        await assert_all_can_be_deleted(traffic)
        await tiny.engine.check()
        assert (await replica.ask(MODEL_ID, PROMPTS[0])).text == references[BASE, PROMPTS[0]]


def disk_budget(tiny: TinyEngine, sizes: list[int]) -> int:
    """Return room for all that the engine may know and that is being registered, and some more."""
    assert tiny.engine.adapters is not None
    return sum(sorted(sizes)[-(tiny.engine.adapters.capacity + CHANGERS + SPARE) :])


def assert_right(traffic: Traffic, references: References) -> None:
    answered = {record.told.model for record in traffic.records if record.told}
    assert answered == {MODEL_ID, *(content.model for content in traffic.contents)}
    assert len(traffic.records) == traffic.scale.requests + traffic.scale.contents
    assert wrong_answers(traffic, references) == []
    # And the judge can tell: two contents whose answers are exchanged are found out.
    swapped = {(1 - number if number in (0, 1) else number): number for number, _ in references}
    exchanged = {(swapped[number], prompt): text for (number, prompt), text in references.items()}
    assert wrong_answers(traffic, exchanged)


async def assert_nothing_is_held(replica: Replica) -> None:
    collector = AdapterCollector(replica.parts.registry)
    gauges = {metric.name: metric.samples[0].value for metric in collector.collect()}
    assert {name: gauges[name] for name in IDLE} == dict.fromkeys(IDLE, 0)


async def assert_only_what_is_registered_is_stored(traffic: Traffic) -> None:
    for _ in range(2):  # the first sweep of the store only suspects
        await traffic.keep_up()
    stored = {key.split("/")[1] for key in await traffic.replica.artifacts()}
    assert stored == {row.stored_as for row in await traffic.replica.rows()}


async def assert_all_can_be_deleted(traffic: Traffic) -> None:
    for content in traffic.contents:
        await traffic.delete(content)
    await traffic.replica.withdrawals.ended()
    assert await traffic.replica.artifacts() == set()
    assert traffic.replica.parts.registry.residents() == []
    assert disk_bytes(traffic.replica.local) == 0


def tell(traffic: Traffic, peaks: Peaks, budget: int, seconds: float) -> None:
    """Print the figures; pytest shows them with `-s`."""
    unknown = sum(record.told is None for record in traffic.records)
    moving = sum(len(record.possible) > 1 for record in traffic.records)
    print(f"{len(traffic.records) / seconds:.0f} requests/s for {seconds:.1f} s, {unknown} of them")
    print(f"404, {moving} during a change; {dict(traffic.changes)}; {peaks}, budget {budget}")


@pytest.mark.timeout(300)
async def test_no_answer_is_wrong_while_adapters_come_go_and_move(
    tiny_engine: TinyEngine, tmp_path: Path
) -> None:
    await prove(tiny_engine, tmp_path, SHORT)


@asynccontextmanager
async def roomy_engine(model: Path, room: Path) -> AsyncIterator[TinyEngine]:
    """The tiny model with as many places as a production engine has."""
    import_vllm()
    lora = LoraSpec(ranks=(8, 16), max_loras=4, max_cpu_loras=66, max_lora_rank=16)
    spec = tiny_spec(model).model_copy(update={"lora": lora})
    engines = await start_engines(Catalog(models=(spec,)))
    try:
        yield TinyEngine(engines, engines.running[MODEL_ID], room)
    finally:
        await engines.close()


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_no_answer_is_wrong_with_two_hundred_adapters(
    tiny_model: Path, tmp_path: Path
) -> None:
    async with roomy_engine(tiny_model, tmp_path / "adapters") as tiny:
        await prove(tiny, tmp_path, LONG)
