"""What stands round a chat model's engine: the renderer with its template, and the parsers."""

from dataclasses import dataclass

from vllm.parser import ParserManager
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.v1.engine.async_llm import AsyncLLM

from app.catalog import ModelSpec
from app.engine.base import EngineStartError, ModelCard
from app.engine.control_tokens import ControlTokens
from app.engine.prompt_renderer import PromptRenderer
from app.engine.vllm_start import Running, card


@dataclass(frozen=True, slots=True)
class ChatParts:
    """Renders messages, knows the control tokens, and tells what the model can do."""

    renderer: OnlineRenderer
    control_tokens: ControlTokens
    card: ModelCard


def furnish(spec: ModelSpec, running: Running) -> ChatParts:
    """Make the parts of a running chat model. Blocks. Raises what the model's files raise."""
    renderer = _renderer(spec, running.llm)
    control_tokens = ControlTokens(running.llm.renderer.get_tokenizer())
    return ChatParts(renderer, control_tokens, _card(spec, running.llm))


def check_parsers(spec: ModelSpec) -> None:
    """Refuse names that vLLM does not know before an engine has been started for nothing.

    **Raises:** EngineStartError.
    """
    tool_parser, reasoning_parser = spec.chat.tool_parser, spec.chat.reasoning_parser
    try:
        ParserManager.get_parser(tool_parser, reasoning_parser, enable_auto_tools=True)
    except (TypeError, KeyError) as error:
        raise EngineStartError(f"model {spec.id}: chat: {error}") from error


def _renderer(spec: ModelSpec, llm: AsyncLLM) -> OnlineRenderer:
    template = spec.chat.template
    renderer = OnlineRenderer(
        model_config=llm.model_config,
        renderer=PromptRenderer(llm.renderer),
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
    return card(
        spec,
        llm,
        takes_tools=spec.chat.tool_parser is not None,
        takes_images=_takes_images(llm),
        tells_logprobs=spec.chat.logprobs,
        reasons=spec.chat.reasoning_parser is not None,
        reasoning_efforts=spec.chat.reasoning_efforts,
    )


def _takes_images(llm: AsyncLLM) -> bool:
    if not llm.model_config.supports_multimodal_inputs:
        return False
    limits = llm.renderer.get_mm_processor().info.allowed_mm_limits
    return bool(limits.get("image", 0))
