"""Engines of their own, started together, killed and ended; each start takes half a minute."""

import asyncio
import itertools
import multiprocessing
import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

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
from app.engine.factory import Engines, RunningEngine, start_engines
from app.engine.metrics import EngineMetrics
from app.engine.vllm_start import LOOK_SECONDS
from tests.fixtures.engines import generate, tiny_spec

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

SHARED_MEMORY = Path("/dev/shm")
CUT_SHORT_SECONDS = 5.0

Moment = Callable[[], set[Any]]
"""Something that grows while an engine starts."""


def _own_processes(*, recursive: bool = False) -> set[psutil.Process]:
    processes = set()
    for child in psutil.Process().children(recursive=recursive):
        with suppress(psutil.NoSuchProcess):  # it has ended since, if only to be a zombie
            if "resource_tracker" not in " ".join(child.cmdline()):
                processes.add(child)
    return processes


def _own_children(*, recursive: bool = False) -> set[int]:
    return {child.pid for child in _own_processes(recursive=recursive)}


def _engine_cores() -> set[int | None]:
    return {process.pid for process in multiprocessing.active_children()}


def _segments() -> set[str]:
    return {entry.name for entry in SHARED_MEMORY.glob("psm_*")}


def _left_behind() -> tuple[set[int], set[str]]:
    return _own_children(recursive=True), _segments()


def _deltas(engine: ChatEngine, max_tokens: int) -> AsyncGenerator[Delta, None]:
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
    job = ChatJob([{"role": "user", "content": "hi"}], sampling, "salt")
    return generate(engine, job, Run(f"r{max_tokens}"))


async def _more_than(had: set[Any], moment: Moment) -> None:
    """Wait; only asking tells what another process has done."""
    async with asyncio.timeout(60):
        for _ in itertools.count():
            if moment() - had:
                return
            await asyncio.sleep(0.05)


async def _text(engine: ChatEngine, max_tokens: int = 4) -> str:
    return "".join([delta.text async for delta in _deltas(engine, max_tokens)])


async def test_two_engines_live_and_die_apart_and_leave_nothing(tiny_model: Path):
    before = _left_behind()
    second = tiny_spec(tiny_model)
    first = second.model_copy(update={"id": "first", "lora": None})
    engines = await start_engines(Catalog(models=(first, second)))
    try:
        assert engines.running["first"].adapters is None
        texts = [await _text(engine) for engine in engines.running.values()]
        assert texts[0] == texts[1]
        assert _models_with_tokens(engines.metrics) == {first.id, second.id}
        cores = _own_children(recursive=True) - before[0]
        assert len(cores) == len(engines.running)  # one process each
        survivor = await _kill_one_while_both_answer(list(engines.running.values()), min(cores))
        assert await _text(survivor) == texts[0]
    finally:
        await engines.close()
    assert _left_behind() == before


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


@asynccontextmanager
async def _starting(model: Path, moment: Moment) -> AsyncGenerator[asyncio.Task[Engines], None]:
    """Bring a start to a moment of it; whatever then ends the start, it is to leave nothing."""
    before, had = _left_behind(), moment()
    spec = tiny_spec(model)
    # With a process for the model, as where it has several GPUs, there is most to be left behind.
    two_processes = spec.model_copy(
        update={"vllm": {**spec.vllm, "distributed_executor_backend": "mp"}}
    )
    starting = asyncio.create_task(start_engines(Catalog(models=(two_processes,))))
    await _more_than(had, moment)
    processes = _own_processes(recursive=True)
    yield starting
    assert _left_behind() == before
    assert [each for each in psutil.wait_procs(processes, 10)[1] if each.pid not in before[0]] == []


@pytest.mark.parametrize("moment", [_engine_cores, _segments])
async def test_a_start_that_is_cancelled_is_cut_short(tiny_model: Path, moment: Moment):
    """Early, when there is a process and no more, and when there is shared memory as well."""
    async with _starting(tiny_model, moment) as starting:
        starting.cancel()
        await asyncio.wait([starting], timeout=CUT_SHORT_SECONDS)
        assert starting.cancelled()


async def test_an_engine_that_is_killed_while_it_starts_leaves_nothing(tiny_model: Path):
    others = _engine_cores()
    async with _starting(tiny_model, _segments) as starting:
        await asyncio.sleep(3 * LOOK_SECONDS)  # until it has been seen what the engine holds
        (core,) = _engine_cores() - others
        assert core is not None
        os.kill(core, signal.SIGKILL)
        with pytest.raises(EngineStartError):
            await starting
