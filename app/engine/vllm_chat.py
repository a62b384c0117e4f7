"""A chat model on vLLM: owns one AsyncLLM from start to shutdown and streams answers out of it.

vLLM's renderer turns messages into tokens and AsyncLLM.generate turns those into text; vLLM's HTTP
layer is not used.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Self

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.parser import Parser
from vllm.sampling_params import SamplingParams

from adapters_registry.host import AdapterHost
from app.catalog import ModelSpec
from app.engine.base import (
    ChatJob,
    Delta,
    Job,
    ModelCard,
    Prompt,
    PromptRefused,
    Run,
    Sampling,
    TextJob,
)
from app.engine.chat_parts import ChatParts, check_parsers, furnish
from app.engine.control_tokens import Hidden, unescaped
from app.engine.metrics import EngineMetrics
from app.engine.vllm_outputs import AnswerReader, ParsedBy
from app.engine.vllm_start import Running, ended, started
from app.engine.vllm_translation import (
    REFUSED,
    TEXT_REFUSED,
    chat_request,
    check_length,
    check_text,
    generate_errors,
    render_errors,
    room,
    sampling_params,
    text_request,
)

PROBE = ChatJob(
    ({"role": "user", "content": "Hello"},), Sampling(temperature=0, max_tokens=4), "probe"
)


@dataclass(frozen=True, slots=True)
class VllmPrompt:
    """A rendered job. `thinking` is what the engine's decoder must know of its reasoning."""

    tokens: int
    max_tokens: int
    input: Any
    parameters: SamplingParams
    reader: AnswerReader
    thinking: dict[str, Any]
    text: str = ""


class VllmChatEngine:
    """Implements app.engine.base.ChatEngine. Made by `start`, ended by `close`."""

    def __init__(self, running: Running, parts: ChatParts, metrics: EngineMetrics) -> None:
        self._running = running
        self._llm = running.llm
        self._renderer = parts.renderer
        self._tokenizer = running.llm.renderer.get_tokenizer()
        self._control_tokens = parts.control_tokens
        self._metrics = metrics
        self._model_defaults = running.llm.model_config.get_diff_sampling_param()
        self._card = parts.card

    @classmethod
    async def start(cls, spec: ModelSpec, metrics: EngineMetrics) -> Self:
        """Start the engine of one catalog entry; takes tens of seconds.

        **Raises:** EngineStartError, naming the model.
        """
        check_parsers(spec)
        running, parts = await started(spec, metrics, furnish)
        return cls(running, parts, metrics)

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def adapters(self) -> AdapterHost | None:
        return self._running.adapters

    async def prepare(self, job: Job) -> VllmPrompt:
        """Render and tokenize a job; takes nothing from the engine yet.

        **Raises:** PromptTooLong, PromptRefused, EngineOverloaded.
        """
        check_length(job, self._card.context_window)
        if isinstance(job, ChatJob):
            return await self._prepare_chat(job)
        return await self._prepare_text(job)

    async def generate(self, prompt: Prompt, run: Run) -> AsyncIterator[Delta]:
        """Generate an answer, once for each prompt. Closing or cancelling aborts it.

        **Raises:** EngineError and its kinds, before the first delta where the request is at fault.
        """
        assert isinstance(prompt, VllmPrompt), "an engine runs what it prepared itself"
        outputs = self._llm.generate(
            prompt.input,
            prompt.parameters,
            run.request_id,
            lora_request=self._running.request(run.adapter),
            priority=run.priority,
            **prompt.thinking,
        )
        with generate_errors():
            async with aclosing(outputs):
                async for output in outputs:
                    if (delta := prompt.reader.read(output)) is not None:
                        yield delta

    async def check(self) -> None:
        """Return when the engine process is alive. **Raises:** EngineDead."""
        await self._running.check()

    async def probe(self, run: Run) -> None:
        """Generate a few tokens. **Raises:** EngineError."""
        async for _ in self.generate(await self.prepare(PROBE), run):
            pass

    async def close(self) -> None:
        """End the engine process; running requests are lost."""
        await ended(self._running, self._metrics)

    async def _prepare_text(self, job: TextJob) -> VllmPrompt:
        check_text(job, self._llm.model_config.get_vocab_size())
        request = text_request(job)
        with render_errors(TEXT_REFUSED):
            rendered = await self._renderer.render_completion(request)
        prompt = _only(rendered, TEXT_REFUSED)
        text = job.prompt if isinstance(job.prompt, str) else prompt.get("prompt", "")
        return replace(self._prompt(job, request, prompt, None), text=text if job.echo else "")

    async def _prepare_chat(self, job: ChatJob) -> VllmPrompt:
        hidden = self._control_tokens.hide([unescaped(job.messages), _tools(job)])
        request = chat_request(job if hidden is None else _with_text(job, hidden))
        prompt = await self._rendered(request)
        if hidden is not None:
            prompt = await asyncio.to_thread(self._with_literals, prompt, hidden)
            request = self._constrained(chat_request(job))
        parser = self._parser(job, request)
        request.stream = job.stream or parser is not None
        return self._prompt(job, request, prompt, parser)

    async def _rendered(self, request: ChatCompletionRequest) -> Any:
        with render_errors():
            rendered = await self._renderer.render_chat(request)
        if isinstance(rendered, ErrorResponse):
            raise PromptRefused(REFUSED)
        return _only(rendered[1])

    def _constrained(self, request: ChatCompletionRequest) -> ChatCompletionRequest:
        """Hold an answer to the tools as they are, not to those that were shown in their place.

        **Source:** the end of vllm.renderers.online_renderer.OnlineRenderer.preprocess_chat (0.32).
        """
        cls = self._renderer.parser
        if cls is None:
            return request
        always = cls.always_adjust_request or cls.reasoning_parser_cls is not None
        if not always and request.tool_choice == "none":
            return request
        adjusted: ChatCompletionRequest = self._new_parser(cls, request).adjust_request(request)
        return adjusted

    def _with_literals(self, prompt: Any, hidden: Hidden) -> Any:
        if prompt["type"] != "token" or "prompt" not in prompt:
            raise PromptRefused("A message holds a control token that this model cannot take.")
        tokens = self._control_tokens.tokens(prompt["prompt"], hidden)
        return {**prompt, "prompt_token_ids": tokens, "prompt": ""}

    def _parser(self, job: ChatJob, request: ChatCompletionRequest) -> Parser | None:
        cls = self._renderer.parser
        if cls is None or not (job.tool_use or (self._card.reasons and job.split_reasoning)):
            return None
        return self._new_parser(cls, request)

    def _new_parser(self, cls: type[Parser], request: ChatCompletionRequest) -> Parser:
        return cls(
            self._tokenizer,
            request.tools,
            chat_template_kwargs=self._renderer.effective_chat_template_kwargs(request),
            model_config=self._llm.model_config,
        )

    def _prompt(
        self,
        job: Job,
        request: ChatCompletionRequest | CompletionRequest,
        prompt: Any,
        parser: Parser | None,
    ) -> VllmPrompt:
        tokens = prompt["prompt_token_ids"]
        max_tokens = room(
            self._card.context_window,
            len(tokens),
            wanted=job.sampling.max_tokens,
            most=self._card.max_completion_tokens,
        )
        parameters = sampling_params(
            request, max_tokens=max_tokens, model_defaults=self._model_defaults
        )
        return VllmPrompt(
            len(tokens),
            max_tokens,
            prompt,
            parameters,
            *self._reading(job, request, tokens, parser),
        )

    def _reading(
        self,
        job: Job,
        request: ChatCompletionRequest | CompletionRequest,
        tokens: list[int],
        parser: Parser | None,
    ) -> tuple[AnswerReader, dict[str, Any]]:
        if not isinstance(request, ChatCompletionRequest) or not isinstance(job, ChatJob):
            return AnswerReader(None, logprobs=job.sampling.logprobs), {}
        reader = AnswerReader(
            None if parser is None else ParsedBy(parser, request),
            keep_raw=bool(job.tool_use or job.response_format),
            logprobs=job.sampling.logprobs,
        )
        return reader, self._thinking(request, tokens, parser)

    def _thinking(
        self, request: ChatCompletionRequest, tokens: list[int], parser: Parser | None
    ) -> dict[str, Any]:
        """Tell the engine when constraints begin: after the thoughts, where there are any."""
        thinking: dict[str, Any] = {
            "reasoning_ended": request.resolve_reasoning_ended(parser, tokens)
        }
        if parser is not None and parser.reasoning_parser is not None:
            kwargs = self._renderer.effective_chat_template_kwargs(request)
            thinking["reasoning_parser_kwargs"] = {"chat_template_kwargs": kwargs}
        return thinking


def _tools(job: ChatJob) -> Any:
    return () if job.tool_use is None else job.tool_use.tools


def _with_text(job: ChatJob, hidden: Hidden) -> ChatJob:
    messages, tools = hidden.value
    if job.tool_use is None:
        return replace(job, messages=messages)
    return replace(job, messages=messages, tool_use=replace(job.tool_use, tools=tools))


def _only(prompts: Any, words: str = REFUSED) -> Any:
    """Return the one prompt that a job renders to. **Raises:** PromptRefused."""
    if isinstance(prompts, ErrorResponse):
        raise PromptRefused(words)
    (prompt,) = prompts
    return prompt
