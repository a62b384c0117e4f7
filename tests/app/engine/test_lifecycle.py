"""Engines of their own, to be started together, killed and ended; each start takes half a minute."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.catalog import Catalog
from app.engine.base import ChatEngine, ChatJob, EngineDead, EngineStartError, Sampling
from app.engine.factory import start_engines
from tests.fixtures.engines import tiny_spec

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

SHARED_MEMORY = Path("/dev/shm")


def _engine_processes() -> set[int]:
    """Return the ids of this process's descendants that run an engine or one of its workers."""
    children = psutil.Process().children(recursive=True)
    return {child.pid for child in children if "resource_tracker" not in " ".join(child.cmdline())}


def _left_behind() -> tuple[set[int], set[str]]:
    return _engine_processes(), {entry.name for entry in SHARED_MEMORY.iterdir()}


def _job(max_tokens: int) -> ChatJob:
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
    return ChatJob(f"r{max_tokens}", [{"role": "user", "content": "hi"}], sampling, "salt")


async def _text(engine: ChatEngine, max_tokens: int = 4) -> str:
    return "".join([delta.text async for delta in engine.chat(_job(max_tokens))])


async def test_two_engines_live_and_die_apart_and_leave_nothing(tiny_model: Path):
    before = _left_behind()
    spec = tiny_spec(tiny_model)
    first, second = (
        spec.model_copy(update={"id": "first", "lora": None}),
        spec.model_copy(update={"id": "second"}),
    )
    engines = await start_engines(Catalog(models=(first, second)))
    try:
        assert engines.chat["first"].adapters is None
        assert await _text(engines.chat["first"]) == await _text(engines.chat["second"])
        registry = CollectorRegistry()
        registry.register(engines.metrics)
        exposed = generate_latest(registry).decode()
        for model in ("first", "second"):
            head = f'vllm:generation_tokens_total{{engine="0",model_name="{model}"}}'
            assert f"{head} 4.0" in exposed
        await _kill_while_answering(engines.chat["first"])
        assert await _text(engines.chat["second"])
    finally:
        await engines.close()
    assert _left_behind() == before


async def _kill_while_answering(victim: ChatEngine) -> None:
    answering = asyncio.Event()

    async def read() -> None:
        async for _ in victim.chat(_job(900)):
            answering.set()

    reader = asyncio.ensure_future(read())
    async with asyncio.timeout(20):
        await answering.wait()
        os.kill(victim_pid(victim), signal.SIGKILL)
        with pytest.raises(EngineDead):
            await reader
    with pytest.raises(EngineDead):
        await victim.check()
    with pytest.raises(EngineDead):
        await _text(victim)


async def test_when_one_model_cannot_start_the_others_are_ended(tiny_model: Path, tmp_path: Path):
    before = _left_behind()
    good = tiny_spec(tiny_model)
    bad = good.model_copy(update={"id": "bad", "source": str(tmp_path)})
    with pytest.raises(EngineStartError, match="model bad"):
        await start_engines(Catalog(models=(good, bad)))
    assert _left_behind() == before
