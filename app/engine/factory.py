"""Starts the engines that a catalog asks for and ends them; the one place that imports vLLM late.

Importing the service needs no vLLM: the modules that do are imported here, when engines start,
after the environment that vLLM reads at import has been set.
"""

import asyncio
import gc
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.catalog import Catalog, ModelSpec
from app.engine.base import ChatEngine, EngineStartError
from app.engine.metrics import EngineMetrics

# What vLLM and its libraries read from the environment only. An operator's own value wins.
VLLM_ENVIRONMENT: Mapping[str, str] = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "TOKENIZERS_PARALLELISM": "false",
}


class RunningEngine(ChatEngine, Protocol):
    """A chat engine that can be ended."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Engines:
    """All running engines. `metrics` is a Prometheus collector over every one of them."""

    chat: Mapping[str, RunningEngine]
    metrics: EngineMetrics

    async def close(self) -> None:
        """End every engine process."""
        await asyncio.gather(*(engine.close() for engine in self.chat.values()))


async def start_engines(catalog: Catalog) -> Engines:
    """Start every model of the catalog, all at once; takes as long as the slowest.

    Cancelling ends the engines that are already up. **Raises:** EngineStartError, when one cannot
    be served; the others are ended first.
    """
    for spec in catalog.models:
        if spec.task != "chat":
            raise EngineStartError(f"model {spec.id}: task {spec.task} is not served yet")
    _prepare_environment(catalog)
    metrics = EngineMetrics()
    starting = [asyncio.create_task(_start_chat(spec, metrics)) for spec in catalog.models]
    try:
        done, _ = await asyncio.wait(starting, return_when=asyncio.FIRST_EXCEPTION)
        # Raises what stopped the wait; without an error all are done.
        engines = {engine.card.id: engine for engine in (task.result() for task in done)}
        _spare_the_garbage_collector()
        return Engines({spec.id: engines[spec.id] for spec in catalog.models}, metrics)
    except (EngineStartError, asyncio.CancelledError):
        await _end(starting)
        raise


async def _start_chat(spec: ModelSpec, metrics: EngineMetrics) -> RunningEngine:
    vllm_chat = await asyncio.to_thread(importlib.import_module, "app.engine.vllm_chat")
    engine: RunningEngine = await vllm_chat.VllmChatEngine.start(spec, metrics)
    return engine


def _spare_the_garbage_collector() -> None:
    """Let it pass over what is there for good.

    The modules of vLLM and its libraries hold a million objects: looking through them stops every
    stream for half a second, again and again while many requests come and go.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def _end(starting: list[asyncio.Task[RunningEngine]]) -> None:
    for task in starting:
        task.cancel()
    outcomes = await asyncio.gather(*starting, return_exceptions=True)
    running = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    await asyncio.gather(*(engine.close() for engine in running))


def _prepare_environment(catalog: Catalog) -> None:
    environment = dict(VLLM_ENVIRONMENT)
    if all(Path(spec.source).is_dir() for spec in catalog.models):
        environment["HF_HUB_OFFLINE"] = "1"
    for name, value in environment.items():
        # vLLM has no other way to be told; settings.py reads only what is ours.
        os.environ.setdefault(name, value)  # noqa: TID251
