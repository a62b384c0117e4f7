"""From a catalog entry to a running vLLM engine with all that stands round it; blocks for long."""

import asyncio
from dataclasses import dataclass
from typing import Any

import vllm
from prometheus_client import CollectorRegistry
from vllm.parser import ParserManager
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM

from app.catalog import ModelSpec
from app.engine.base import EngineStartError, ModelCard
from app.engine.control_tokens import ControlTokens
from app.engine.fingerprint import fingerprint
from app.engine.linear_shapes import linear_shapes
from app.engine.vllm_adapters import VllmAdapterHost
from app.engine.vllm_args import build_engine_args, engine_arguments
from app.engine.vllm_metrics import stat_logger

SHUTDOWN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Parts:
    """A running engine: its process, its renderer, its metrics and what is told of it."""

    llm: AsyncLLM
    renderer: OnlineRenderer
    control_tokens: ControlTokens
    registry: CollectorRegistry
    card: ModelCard
    adapters: VllmAdapterHost | None


def build(spec: ModelSpec) -> Parts:
    """Start the engine of one entry. **Raises:** EngineStartError, naming the model."""
    registry = CollectorRegistry()
    args = build_engine_args(spec)
    _check_parsers(spec)
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
    adapters = None if spec.lora is None else VllmAdapterHost(llm, spec.lora, shapes)
    try:
        renderer = _build_renderer(spec, llm)
        control_tokens = ControlTokens(llm.renderer.get_tokenizer())
        return Parts(llm, renderer, control_tokens, registry, _card(spec, llm), adapters)
    except Exception as error:
        # So does a chat template with a model's parsers; the engine process is up by now.
        llm.shutdown(SHUTDOWN_SECONDS)
        message = f"model {spec.id}: its template and parsers (chat) cannot be used: {error}"
        raise EngineStartError(message) from error


def _check_parsers(spec: ModelSpec) -> None:
    """Refuse names that vLLM does not know before an engine has been started for nothing."""
    tool_parser, reasoning_parser = spec.chat.tool_parser, spec.chat.reasoning_parser
    try:
        ParserManager.get_parser(tool_parser, reasoning_parser, enable_auto_tools=True)
    except (TypeError, KeyError) as error:
        raise EngineStartError(f"model {spec.id}: chat: {error}") from error


async def discard(building: asyncio.Task[Parts]) -> None:
    """Wait for a build that nobody wants any more, and end what it has started."""
    try:
        parts = await building
    except EngineStartError:
        return
    await asyncio.to_thread(parts.llm.shutdown, SHUTDOWN_SECONDS)


def _build_renderer(spec: ModelSpec, llm: AsyncLLM) -> OnlineRenderer:
    template = spec.chat.template
    renderer = OnlineRenderer(
        model_config=llm.model_config,
        renderer=llm.renderer,
        request_logger=None,
        chat_template=None if template is None else template.read_text(),
        chat_template_content_format="auto",
        enable_auto_tools=spec.chat.tool_parser is not None,
        tool_parser=spec.chat.tool_parser,
        reasoning_parser=spec.chat.reasoning_parser,
        exclude_tools_when_tool_choice_none=True,
    )
    renderer.warmup()
    return renderer


def _card(spec: ModelSpec, llm: AsyncLLM) -> ModelCard:
    return ModelCard(
        id=spec.id,
        owned_by=spec.owned_by,
        context_window=spec.context_window,
        max_completion_tokens=min(spec.max_completion_tokens, spec.context_window),
        fingerprint=fingerprint(
            spec.source, spec.revision, vllm.__version__, _answering_arguments(spec)
        ),
        max_running=llm.vllm_config.scheduler_config.max_num_seqs,
        cache_tokens=llm.vllm_config.cache_config.kv_cache_size_tokens or spec.context_window,
        takes_tools=spec.chat.tool_parser is not None,
        takes_images=_takes_images(llm),
        tells_logprobs=spec.chat.logprobs,
        reasons=spec.chat.reasoning_parser is not None,
        reasoning_efforts=spec.chat.reasoning_efforts,
    )


def _answering_arguments(spec: ModelSpec) -> dict[str, Any]:
    """Return what answers depend on; a template is known by its text, not by its place."""
    template = None if spec.chat.template is None else spec.chat.template.read_text()
    return {**engine_arguments(spec), "chat_template": template}


def _takes_images(llm: AsyncLLM) -> bool:
    if not llm.model_config.supports_multimodal_inputs:
        return False
    limits = llm.renderer.get_mm_processor().info.allowed_mm_limits
    return bool(limits.get("image", 0))
