"""vLLM's renderer, which renders short prompts where it is called.

vLLM hands each prompt to a thread twice, for the template and for the tokenizer. A thread has to
wait for a CPU and for the interpreter's lock each time, which streams keep busy: a prompt that
takes 0.1 ms took 25 ms to render beside 32 streams, with its place in the engine empty meanwhile.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from vllm.renderers.base import BaseRenderer
from vllm.renderers.params import ChatParams

SHORT_CHARACTERS = 2_000
"""Tokenized in less than a millisecond, or two where no character is of English."""
FEW_TEXTS = 100


class PromptRenderer:
    """Stands in the place of a vllm.renderers.base.BaseRenderer (0.32) for an OnlineRenderer.

    Threads may be at work on other prompts meanwhile: vLLM keeps a tokenizer more than it has
    threads.
    """

    def __init__(self, renderer: BaseRenderer) -> None:
        self._renderer = renderer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._renderer, name)

    async def render_chat_async(
        self,
        conversations: Sequence[Sequence[Mapping[str, Any]]],
        chat_params: ChatParams,
        *args: Any,
        **options: Any,
    ) -> Any:
        """Render conversations; blocks for short ones, which are plain text without tools."""
        messages = [message for messages in conversations for message in messages]
        has_tools = chat_params.chat_template_kwargs.get("tools")
        if not has_tools and _are_short([value for one in messages for value in one.values()]):
            return self._renderer.render_chat(conversations, chat_params, *args, **options)
        return await self._renderer.render_chat_async(conversations, chat_params, *args, **options)

    async def render_cmpl_async(
        self, prompts: Sequence[Mapping[str, Any]], *args: Any, **options: Any
    ) -> Any:
        """Render prompts; blocks for short ones, which are texts."""
        if _are_short([value for prompt in prompts for value in prompt.values()]):
            return self._renderer.render_cmpl(prompts, *args, **options)
        return await self._renderer.render_cmpl_async(prompts, *args, **options)


def _are_short(values: Sequence[Any]) -> bool:
    """Tell whether these are few and little texts and nothing else: no images, calls or tokens."""
    if len(values) > FEW_TEXTS or not all(isinstance(value, str | None) for value in values):
        return False
    return sum(len(value) for value in values if value) <= SHORT_CHARACTERS
