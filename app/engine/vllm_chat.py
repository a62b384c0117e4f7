"""A chat model on vLLM: owns one AsyncLLM from start to shutdown and streams answers out of it.

vLLM's renderer turns messages into tokens and AsyncLLM.generate turns those into text; vLLM's HTTP
layer is not used. Building and shutting down an engine block for seconds, so both run in threads.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self

import vllm
from prometheus_client import CollectorRegistry
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from adapters_registry.host import AdapterHost
from adapters_registry.types import LinearShapes
from app.catalog import ModelSpec
from app.engine.base import (
    ChatDelta,
    ChatJob,
    EngineDead,
    EngineStartError,
    ModelCard,
    PromptRefused,
)
from app.engine.fingerprint import fingerprint
from app.engine.linear_shapes import linear_shapes
from app.engine.metrics import EngineMetrics
from app.engine.vllm_adapters import VllmAdapterHost, lora_request
from app.engine.vllm_args import build_engine_args, engine_arguments
from app.engine.vllm_metrics import stat_logger
from app.engine.vllm_translation import (
    REFUSED,
    chat_request,
    check_length,
    finish_reason,
    generate_errors,
    render_errors,
    room,
    sampling_params,
    usage,
)

SHUTDOWN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Parts:
    llm: AsyncLLM
    renderer: OnlineRenderer
    shapes: LinearShapes
    registry: CollectorRegistry


class VllmChatEngine:
    """Implements app.engine.base.ChatEngine. Made by `start`, ended by `close`."""

    def __init__(self, spec: ModelSpec, parts: _Parts, metrics: EngineMetrics) -> None:
        self._llm = parts.llm
        self._renderer = parts.renderer
        self._registry = parts.registry
        self._metrics = metrics
        self._model_defaults = parts.llm.model_config.get_diff_sampling_param()
        self._card = _card(spec)
        self._adapters = _adapter_host(spec, parts)

    @classmethod
    async def start(cls, spec: ModelSpec, metrics: EngineMetrics) -> Self:
        """Build the engine of one catalog entry; takes tens of seconds.

        Cancelling waits until the engine process is up and ended again, so none is left behind.
        **Raises:** EngineStartError, naming the model.
        """
        building = asyncio.create_task(asyncio.to_thread(_build, spec))
        try:
            parts = await asyncio.shield(building)
        except asyncio.CancelledError:
            await _discard(building)
            raise
        metrics.add(parts.registry)
        return cls(spec, parts, metrics)

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def adapters(self) -> AdapterHost | None:
        return self._adapters

    async def chat(self, job: ChatJob) -> AsyncIterator[ChatDelta]:
        """Generate an answer. Closing or cancelling the iterator aborts it in the engine.

        **Raises:** EngineError and its kinds, before the first delta where the request is at fault.
        """
        prompt = await self._render(job)
        parameters = sampling_params(
            job,
            max_tokens=self._max_tokens(job, len(prompt["prompt_token_ids"])),
            model_defaults=self._model_defaults,
        )
        lora = None if job.adapter is None else lora_request(job.adapter)
        outputs = self._llm.generate(
            prompt, parameters, job.request_id, lora_request=lora, priority=job.priority
        )
        completion_tokens = 0
        with generate_errors():
            async with aclosing(outputs):
                async for output in outputs:
                    (piece,) = output.outputs
                    completion_tokens += len(piece.token_ids)
                    if output.finished:
                        reason = finish_reason(piece.finish_reason)
                        yield ChatDelta(piece.text, reason, usage(output, completion_tokens))
                    elif piece.text:
                        yield ChatDelta(piece.text)

    async def check(self) -> None:
        """Return when the engine process is alive. **Raises:** EngineDead."""
        try:
            await self._llm.check_health()
        except EngineDeadError as error:
            raise EngineDead("the engine process has died") from error

    async def close(self) -> None:
        """End the engine process and free its shared memory; running requests are lost."""
        self._metrics.remove(self._registry)
        await asyncio.to_thread(self._llm.shutdown, SHUTDOWN_SECONDS)

    async def _render(self, job: ChatJob) -> Any:
        check_length(job, self._card.context_window)
        request = chat_request(job)
        with render_errors():
            rendered = await self._renderer.render_chat(request)
        if isinstance(rendered, ErrorResponse):
            raise PromptRefused(REFUSED)
        _, (prompt,) = rendered
        return prompt

    def _max_tokens(self, job: ChatJob, prompt_tokens: int) -> int:
        return room(
            self._card.context_window,
            prompt_tokens,
            wanted=job.sampling.max_tokens,
            most=self._card.max_completion_tokens,
        )


def _build(spec: ModelSpec) -> _Parts:
    registry = CollectorRegistry()
    args = build_engine_args(spec)
    try:
        shapes = linear_shapes(spec.source, spec.revision) if spec.lora else {}
        llm = AsyncLLM.from_engine_args(
            args,
            usage_context=UsageContext.ENGINE_CONTEXT,
            stat_loggers=[stat_logger(registry)],
        )
    except Exception as error:
        # Starting runs all of vLLM's and the model's loading code: any error may come out of it.
        raise EngineStartError(f"model {spec.id}: vLLM cannot serve it: {error}") from error
    return _Parts(llm, _build_renderer(llm), shapes, registry)


def _build_renderer(llm: AsyncLLM) -> OnlineRenderer:
    renderer = OnlineRenderer(
        model_config=llm.model_config,
        renderer=llm.renderer,
        request_logger=None,
        chat_template=None,
        chat_template_content_format="auto",
    )
    renderer.warmup()
    return renderer


async def _discard(building: asyncio.Task[_Parts]) -> None:
    try:
        parts = await building
    except EngineStartError:
        return
    await asyncio.to_thread(parts.llm.shutdown, SHUTDOWN_SECONDS)


def _adapter_host(spec: ModelSpec, parts: _Parts) -> VllmAdapterHost | None:
    if spec.lora is None:
        return None
    return VllmAdapterHost(parts.llm, spec.lora, parts.shapes)


def _card(spec: ModelSpec) -> ModelCard:
    return ModelCard(
        id=spec.id,
        owned_by=spec.owned_by,
        context_window=spec.context_window,
        max_completion_tokens=min(spec.max_completion_tokens, spec.context_window),
        fingerprint=fingerprint(
            spec.source, spec.revision, vllm.__version__, engine_arguments(spec)
        ),
    )
