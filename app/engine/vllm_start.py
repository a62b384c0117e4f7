"""From a catalog entry to a running AsyncLLM, of whatever task, and to the end of it again.

Starting and shutting down block for seconds, so both run in threads. A start that is cancelled is
cut short: its processes are killed, and have ended before the cancellation goes on.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import vllm
from prometheus_client import CollectorRegistry
from vllm.lora.request import LoRARequest
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from adapters_registry.types import LoadedAdapter
from app.catalog import ModelSpec
from app.engine.base import EngineDead, EngineStartError, ModelCard
from app.engine.fingerprint import fingerprint
from app.engine.linear_shapes import linear_shapes
from app.engine.metrics import EngineMetrics
from app.engine.vllm_adapters import VllmAdapterHost
from app.engine.vllm_args import build_engine_args, engine_arguments
from app.engine.vllm_metrics import stat_logger
from app.engine.vllm_processes import EngineProcesses

SHUTDOWN_SECONDS = 10.0
LOOK_SECONDS = 0.5
"""How often a start is looked at: what its processes hold, and whether a cancelled one is over."""

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Running:
    """An engine that is up, its processes, its metrics, and where its adapters live."""

    llm: AsyncLLM
    processes: EngineProcesses
    registry: CollectorRegistry
    adapters: VllmAdapterHost | None

    def request(self, adapter: LoadedAdapter | None) -> LoRARequest | None:
        """Return vLLM's name for a request's adapter. **Raises:** EngineDead."""
        if adapter is None:
            return None
        assert self.adapters is not None, "an engine without adapters has loaded none"
        return self.adapters.request(adapter)

    async def check(self) -> None:
        """Return when the process is alive. **Raises:** EngineDead."""
        try:
            await self.llm.check_health()
        except EngineDeadError as error:
            raise EngineDead("the engine process has died") from error

    def shutdown(self) -> None:
        """End the process and free its shared memory, also where it was killed. Blocks."""
        self.llm.shutdown(SHUTDOWN_SECONDS)
        self.processes.free()


async def started(
    spec: ModelSpec, metrics: EngineMetrics, furnish: Callable[[ModelSpec, Running], P]
) -> tuple[Running, P]:
    """Start the engine of one entry, and make with `furnish` what stands round it.

    Takes tens of seconds; `furnish` runs in the same thread. Cancelling kills what has been started
    and waits for its end, so none is left behind. **Raises:** EngineStartError, naming the model.
    """
    processes = EngineProcesses()
    building = asyncio.create_task(asyncio.to_thread(_build, spec, furnish, processes))
    try:
        while not building.done():
            await asyncio.wait([building], timeout=LOOK_SECONDS)
            await asyncio.to_thread(processes.look)
        running, parts = building.result()
    except asyncio.CancelledError:
        await _discard(building, processes)
        raise
    except EngineStartError:
        await asyncio.to_thread(processes.free)
        raise
    metrics.add(running.registry)
    return running, parts


async def ended(running: Running, metrics: EngineMetrics) -> None:
    """End the engine process; running requests are lost."""
    metrics.remove(running.registry)
    await asyncio.to_thread(running.shutdown)


def card(spec: ModelSpec, llm: AsyncLLM, **abilities: Any) -> ModelCard:
    """Return what is told of a model that vLLM runs; `abilities` are further fields of a card."""
    window = spec.context_window or llm.model_config.max_model_len
    cache = llm.vllm_config.cache_config.kv_cache_size_tokens
    return ModelCard(
        id=spec.id,
        owned_by=spec.owned_by,
        context_window=window,
        max_completion_tokens=min(spec.max_completion_tokens or window, window),
        fingerprint=fingerprint(
            spec.source, spec.revision, vllm.__version__, _answering_arguments(spec)
        ),
        max_running=llm.vllm_config.scheduler_config.max_num_seqs,
        cache_tokens=cache or window,
        task=spec.task,
        **abilities,
    )


def _build(
    spec: ModelSpec, furnish: Callable[[ModelSpec, Running], P], processes: EngineProcesses
) -> tuple[Running, P]:
    running = _start(spec, processes)
    try:
        return running, furnish(spec, running)
    except Exception as error:
        # Templates, parsers and tokenizers are the model's: any error may come out of them.
        running.shutdown()
        message = f"model {spec.id}: what its catalog entry names cannot be used: {error}"
        raise EngineStartError(message) from error


def _start(spec: ModelSpec, processes: EngineProcesses) -> Running:
    registry = CollectorRegistry()
    args = build_engine_args(spec)
    try:
        shapes = linear_shapes(spec.source, spec.revision, spec.task) if spec.lora else {}
        with processes.taken_in():
            llm = AsyncLLM.from_engine_args(
                args,
                usage_context=UsageContext.ENGINE_CONTEXT,
                stat_loggers=[stat_logger(registry)],
            )
    except Exception as error:
        # Starting runs all of vLLM's and the model's loading code: any error may come out of it.
        raise EngineStartError(f"model {spec.id}: vLLM cannot serve it: {error}") from error
    adapters = None if spec.lora is None else VllmAdapterHost(llm, spec.lora, shapes)
    return Running(llm, processes, registry, adapters)


async def _discard(building: asyncio.Task[tuple[Running, P]], processes: EngineProcesses) -> None:
    """Cut a start short that nobody wants any more, and end what it has brought up all the same."""
    while not building.done():
        await asyncio.to_thread(processes.kill)
        await asyncio.wait([building], timeout=LOOK_SECONDS)
    try:
        running, _ = building.result()
    except EngineStartError:
        await asyncio.to_thread(processes.free)
    else:
        await asyncio.to_thread(running.shutdown)


def _answering_arguments(spec: ModelSpec) -> dict[str, Any]:
    """Return what answers depend on; a template is known by its text, not by its place."""
    templates = {"chat": spec.chat.template, "reranking": spec.reranking.template}
    template = templates.get(spec.task)
    text = None if template is None else template.read_text()
    return {**engine_arguments(spec), "chat_template": text}
