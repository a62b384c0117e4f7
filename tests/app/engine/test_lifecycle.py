"""Engines of their own, started together, killed and ended; each start takes half a minute."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import psutil
import pytest

from app.catalog import Catalog
from app.engine.base import (
    ChatEngine,
    ChatJob,
    Delta,
    EngineDead,
    EngineStartError,
    Run,
    Sampling,
)
from app.engine.factory import RunningEngine, start_engines
from app.engine.metrics import EngineMetrics
from tests.fixtures.engines import generate, tiny_spec

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

SHARED_MEMORY = Path("/dev/shm")


def _own_children(*, recursive: bool = False) -> set[int]:
    children = psutil.Process().children(recursive=recursive)
    return {child.pid for child in children if "resource_tracker" not in " ".join(child.cmdline())}


def _left_behind() -> tuple[set[int], set[str]]:
    return _own_children(recursive=True), {entry.name for entry in SHARED_MEMORY.iterdir()}


def _deltas(engine: ChatEngine, max_tokens: int) -> AsyncGenerator[Delta, None]:
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
    job = ChatJob([{"role": "user", "content": "hi"}], sampling, "salt")
    return generate(engine, job, Run(f"r{max_tokens}"))


async def _text(engine: ChatEngine, max_tokens: int = 4) -> str:
    return "".join([delta.text async for delta in _deltas(engine, max_tokens)])


async def test_two_engines_live_and_die_apart_and_leave_no_process(tiny_model: Path):
    """A killed engine cannot free its shared memory; that goes when this process ends."""
    before = _own_children(recursive=True)
    second = tiny_spec(tiny_model)
    first = second.model_copy(update={"id": "first", "lora": None})
    engines = await start_engines(Catalog(models=(first, second)))
    try:
        assert engines.running["first"].adapters is None
        texts = [await _text(engine) for engine in engines.running.values()]
        assert texts[0] == texts[1]
        assert _models_with_tokens(engines.metrics) == {first.id, second.id}
        cores = _own_children() - before
        survivor = await _kill_one_while_both_answer(list(engines.running.values()), min(cores))
        assert await _text(survivor) == texts[0]
    finally:
        await engines.close()
    assert _own_children(recursive=True) == before


def _models_with_tokens(metrics: EngineMetrics) -> set[str]:
    samples = [sample for family in metrics.collect() for sample in family.samples]
    return {
        sample.labels["model_name"]
        for sample in samples
        if sample.name == "vllm:generation_tokens_total" and sample.value > 0
    }


async def _kill_one_while_both_answer(engines: list[RunningEngine], core: int) -> RunningEngine:
    """Kill one engine process; see its stream and what follows fail; return the other engine."""
    answering = [asyncio.Event() for _ in engines]

    async def read(engine: RunningEngine, is_answering: asyncio.Event) -> None:
        async for _ in _deltas(engine, 900):
            is_answering.set()

    reading = asyncio.gather(*map(read, engines, answering), return_exceptions=True)
    async with asyncio.timeout(30):
        await asyncio.gather(*(event.wait() for event in answering))
        os.kill(core, signal.SIGKILL)
        outcomes = await reading
    dead, survivor = engines if isinstance(outcomes[0], EngineDead) else reversed(engines)
    assert {type(outcome) for outcome in outcomes} == {EngineDead, type(None)}
    with pytest.raises(EngineDead):
        await dead.check()
    with pytest.raises(EngineDead):
        await _text(dead)
    await survivor.check()
    return survivor


async def test_when_one_model_cannot_start_the_others_end_and_leave_nothing(
    tiny_model: Path, tmp_path: Path
):
    before = _left_behind()
    good = tiny_spec(tiny_model)
    bad = good.model_copy(update={"id": "bad", "source": str(tmp_path)})
    with pytest.raises(EngineStartError, match="model bad"):
        await start_engines(Catalog(models=(good, bad)))
    assert _left_behind() == before
