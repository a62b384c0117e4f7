"""Starts the engines that a catalog asks for and ends them; the one place that imports vLLM late.

Importing the service needs no vLLM: the modules that do are imported here, when engines start,
after the environment that vLLM reads at import has been set.
"""

import asyncio
import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from app.catalog import Catalog, ModelSpec
from app.engine.base import Engine, EngineStartError
from app.engine.garbage import spare_the_garbage_collector
from app.engine.metrics import EngineMetrics

log = structlog.get_logger()

IMPLEMENTATIONS: Mapping[str, tuple[str, str]] = {
    "chat": ("app.engine.vllm_chat", "VllmChatEngine"),
    "embedding": ("app.engine.vllm_pooling", "VllmPoolingEngine"),
    "reranking": ("app.engine.vllm_pooling", "VllmPoolingEngine"),
    "transcription": ("app.engine.vllm_transcription", "VllmTranscriptionEngine"),
    "piper": ("app.engine.piper", "PiperEngine"),
    "orpheus": ("app.engine.orpheus", "OrpheusEngine"),
}
"""Module and class of each task; of a speech model's, by its backend."""

# What vLLM and its libraries read from the environment only. An operator's own value wins.
VLLM_ENVIRONMENT: Mapping[str, str] = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "TOKENIZERS_PARALLELISM": "false",
    # A fork of a process that serves would hold its clients' connections open, and its locks shut.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}


class RunningEngine(Engine, Protocol):
    """An engine that can be ended."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Engines:
    """All running engines, by model. `metrics` is a Prometheus collector over every one of them.

    `absent` are the ids of optional models that could not be started.
    """

    running: Mapping[str, RunningEngine]
    metrics: EngineMetrics
    absent: Mapping[str, ModelSpec]

    async def close(self) -> None:
        """End every engine process."""
        await asyncio.gather(*(engine.close() for engine in self.running.values()))


async def start_engines(catalog: Catalog) -> Engines:
    """Start every model of the catalog, all at once; takes as long as the slowest.

    Cancelling ends the engines that are already up. **Raises:** EngineStartError, when one that is
    not optional cannot be served; the others are ended first.
    """
    _prepare_environment(catalog)
    metrics = EngineMetrics()
    starting = [asyncio.create_task(_start_or_do_without(spec, metrics)) for spec in catalog.models]
    try:
        done, _ = await asyncio.wait(starting, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()  # raises what stopped the wait; without an error all are done
    except BaseException:
        # Whatever it was, no engine process may be left behind.
        await _end(starting)
        raise
    spare_the_garbage_collector()
    _read_environment_for_good()
    outcomes = [(spec, task.result()) for spec, task in zip(catalog.models, starting, strict=True)]
    return Engines(
        {spec.id: engine for spec, engine in outcomes if engine is not None},
        metrics,
        {spec.id: spec for spec, engine in outcomes if engine is None},
    )


async def _start_or_do_without(spec: ModelSpec, metrics: EngineMetrics) -> RunningEngine | None:
    try:
        return await start_engine(spec, metrics)
    except EngineStartError as error:
        if not spec.optional:
            raise
        log.error("optional model not started", model=spec.id, reason=str(error))
        return None


async def start_engine(spec: ModelSpec, metrics: EngineMetrics) -> RunningEngine:
    """Start one model, in an environment that `start_engines` has prepared; takes tens of seconds.

    Cancelling leaves no engine behind. **Raises:** EngineStartError.
    """
    module, name = IMPLEMENTATIONS[spec.speech.backend if spec.speech else spec.task]
    try:
        implementation = await asyncio.to_thread(importlib.import_module, module)
    except ImportError as error:
        message = f"model {spec.id}: its backend is not installed: {error}"
        raise EngineStartError(message) from error
    except Exception as error:
        raise _unexpected(spec, error) from error
    try:
        engine: RunningEngine = await getattr(implementation, name).start(spec, metrics)
    except EngineStartError:
        raise
    except Exception as error:
        raise _unexpected(spec, error) from error
    return engine


def _unexpected(spec: ModelSpec, error: Exception) -> EngineStartError:
    """Make one model's error of what loading a backend raised: it runs anybody's code."""
    log.error("backend failed", model=spec.id, exc_info=error)
    return EngineStartError(f"model {spec.id}: its backend failed: {type(error).__name__}: {error}")


async def _end(starting: list[asyncio.Task[RunningEngine | None]]) -> None:
    for task in starting:
        task.cancel()
    outcomes = await asyncio.gather(*starting, return_exceptions=True)
    running = [each for each in outcomes if each and not isinstance(each, BaseException)]
    await asyncio.gather(*(engine.close() for engine in running))


def _prepare_environment(catalog: Catalog) -> None:
    environment = dict(VLLM_ENVIRONMENT)
    if all(Path(source).is_dir() for spec in catalog.models for source in _sources(spec)):
        environment["HF_HUB_OFFLINE"] = "1"
    for name, value in environment.items():
        # vLLM has no other way to be told; app.settings reads only what is ours.
        os.environ.setdefault(name, value)  # noqa: TID251


def _read_environment_for_good() -> None:
    """Let vLLM remember its variables, as its own processes do once they have started.

    It asks for one at every token; the engines' configurations have set theirs by now.
    **Source:** vllm.envs.enable_envs_cache (0.32).
    """
    if envs := sys.modules.get("vllm.envs"):
        envs.enable_envs_cache()


def _sources(spec: ModelSpec) -> list[str]:
    codec = spec.speech.codec if spec.speech else None
    return [spec.source] if codec is None else [spec.source, codec]
