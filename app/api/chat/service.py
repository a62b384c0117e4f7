"""Chat completions without HTTP: from a checked request to an answer or to a stream's bytes.

What a request asks is put as a Conversation, which inference serves; shapes are made here.
"""

import secrets
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass

from app.api.chat.completion import (
    CalledFunction,
    ChatCompletion,
    ChatCompletionMessage,
    Choice,
    Logprobs,
    MessageToolCall,
    WireFinishReason,
)
from app.api.chat.documents import with_documents
from app.api.chat.messages import prompt
from app.api.chat.response_format import wanted
from app.api.chat.schemas import ChatCompletionRequest
from app.api.chat.stream import ChunkEncoder
from app.engine.base import (
    Delta,
    FinishReason,
    Sampling,
    TokenLogprob,
    ToolCall,
    ToolUse,
    Usage,
)
from app.errors import ApiError
from app.groq_fields import CompletionUsage, XGroq, told
from app.inference.context import RequestContext
from app.inference.conversation import Conversation, FieldNames, checked
from app.inference.generation import Generation
from app.inference.ports import ImageIntake
from app.inference.serving import Inference
from app.sse import error_event, log_failed, started


@dataclass(frozen=True, slots=True)
class _Answering:
    """One request that is being answered."""

    context: RequestContext
    request: ChatCompletionRequest
    seed: int
    id: str
    created: int

    @property
    def by_function(self) -> bool:
        """Whether the caller uses the deprecated form of tools."""
        return bool(self.request.functions)

    @property
    def shows_reasoning(self) -> bool:
        is_hidden = self.request.reasoning_format == "hidden"
        return not is_hidden and self.request.include_reasoning is not False


class ChatService:
    """Answers chat requests."""

    def __init__(self, inference: Inference, images: ImageIntake) -> None:
        self._inference = inference
        self._images = images

    async def complete(
        self, context: RequestContext, request: ChatCompletionRequest
    ) -> ChatCompletion:
        """Generate the whole answer. Cancelling aborts it in the engine. **Raises:** ApiError."""
        answering = _answering(context, request)
        whole = _Whole()
        async with self._open(answering) as served:
            async with aclosing(self._deltas(answering, served)) as deltas:
                async for delta in deltas:
                    whole.add(delta)
            return _completion(answering, served, whole)

    async def stream(
        self, context: RequestContext, request: ChatCompletionRequest
    ) -> AsyncGenerator[bytes, None]:
        """Generate an answer as server-sent events; returns once the first token is there.

        The caller must close what it gets; that aborts what still runs in the engine.
        **Raises:** ApiError, for all that goes wrong before the first token.
        """
        return await started(self._frames(_answering(context, request)))

    async def _frames(self, answering: _Answering) -> AsyncGenerator[bytes, None]:
        """Yield nothing first, once the first token is there."""
        async with (
            self._open(answering) as served,
            aclosing(self._deltas(answering, served)) as deltas,
        ):
            delta = await anext(deltas)
            yield b""
            encoder = _encoder(answering, served)
            opening = encoder.first(delta, answering.seed)
            try:
                while delta.finish_reason is None:
                    yield opening + encoder.piece(delta)
                    opening = b""
                    delta = await anext(deltas)
            except ApiError as error:
                log_failed(answering.context.id, error)
                yield error_event(error)
                return
            reason, usage = _outcome(answering, delta)
            include_usage = answering.request.include_usage
            end = encoder.last(reason, usage, served.tier, include_usage=include_usage)
            yield opening + encoder.piece(delta) + end

    def _open(self, answering: _Answering) -> AbstractAsyncContextManager[Generation]:
        request = answering.request
        return self._inference.open(
            Generation, answering.context, request.model, request.service_tier
        )

    async def _deltas(
        self, answering: _Answering, served: Generation
    ) -> AsyncGenerator[Delta, None]:
        conversation = await self._conversation(answering, served)
        job = await conversation.job(served.card, served.cache_salt)
        deltas = served.generate(await served.prepare(job))
        is_hidden = served.card.reasons and not answering.shows_reasoning
        async with aclosing(checked(conversation, deltas)) as kept:
            async for delta in kept:
                yield _without_reasoning(delta) if is_hidden else delta

    async def _conversation(self, answering: _Answering, served: Generation) -> Conversation:
        request = answering.request
        documents, cite = request.documents or (), request.citation_options != "disabled"
        messages = await self._images.taken_in(
            prompt(request.messages), served.card, org_id=answering.context.caller.org_id
        )
        return Conversation(
            messages=with_documents(messages, documents, cite=cite),
            sampling=_sampling(request, answering.seed),
            names=_names(request),
            tool_use=_tool_use(request),
            check_calls=not request.disable_tool_validation,
            response_format=wanted(request.response_format),
            reasoning_effort=request.reasoning_effort,
            split_reasoning=request.reasoning_format != "raw",
            tells_reasoning=answering.shows_reasoning,
            stream=bool(request.stream),
        )


class _Whole:
    """An answer that is put together."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self.calls: list[ToolCall] = []
        self.logprobs: list[TokenLogprob] = []
        self.last = Delta()

    def add(self, delta: Delta) -> None:
        self._texts.append(delta.text)
        self._reasoning.append(delta.reasoning)
        self.calls += delta.tool_calls
        self.logprobs += delta.logprobs
        self.last = delta

    @property
    def text(self) -> str | None:
        text = "".join(self._texts)
        return None if self.calls and not text else text

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)


def _answering(context: RequestContext, request: ChatCompletionRequest) -> _Answering:
    seed = secrets.randbits(32) if request.seed is None else request.seed
    return _Answering(context, request, seed, f"chatcmpl-{uuid.uuid4()}", int(time.time()))


def _names(request: ChatCompletionRequest) -> FieldNames:
    field, _ = request.completion_limit
    function = "functions.{}" if request.functions else "tools.{}.function"
    return FieldNames(field, "response_format", "reasoning_effort", "messages", function)


def _tool_use(request: ChatCompletionRequest) -> ToolUse | None:
    tools = [function.tool() for function in request.declared_functions]
    if not tools:
        return None
    # By the deprecated form a model calls one function at a time.
    parallel = request.parallel_tool_calls is not False and not request.functions
    return ToolUse(tools, request.choice, parallel)


def _sampling(request: ChatCompletionRequest, seed: int) -> Sampling:
    return Sampling(
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        max_tokens=request.completion_limit[1],
        seed=seed,
        stop=request.stop_texts,
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        logit_bias=request.logit_bias or {},
    )


def _without_reasoning(delta: Delta) -> Delta:
    """Leave the thoughts out, and the tokens that would tell them."""
    return Delta(
        delta.text,
        tool_calls=delta.tool_calls,
        finish_reason=delta.finish_reason,
        usage=delta.usage,
    )


def _outcome(answering: _Answering, last: Delta) -> tuple[WireFinishReason, Usage]:
    assert last.finish_reason is not None, "inference ends with an outcome"
    assert last.usage is not None, "inference ends with an outcome"
    return _reason(answering, last.finish_reason), last.usage


def _reason(answering: _Answering, reason: FinishReason) -> WireFinishReason:
    return "function_call" if reason == "tool_calls" and answering.by_function else reason


def _encoder(answering: _Answering, served: Generation) -> ChunkEncoder:
    return ChunkEncoder(
        id=answering.id,
        created=answering.created,
        model=served.id,
        fingerprint=served.fingerprint,
        request_id=answering.context.id,
        by_function=answering.by_function,
    )


def _completion(answering: _Answering, served: Generation, whole: _Whole) -> ChatCompletion:
    reason, usage = _outcome(answering, whole.last)
    return ChatCompletion(
        id=answering.id,
        object="chat.completion",
        created=answering.created,
        model=served.id,
        choices=[
            Choice(
                index=0,
                message=_message(answering, whole),
                logprobs=Logprobs.of(whole.logprobs) if answering.request.logprobs else None,
                finish_reason=reason,
            )
        ],
        usage=CompletionUsage.of(usage),
        usage_breakdown=None,
        system_fingerprint=served.fingerprint,
        x_groq=XGroq(id=answering.context.id, seed=answering.seed),
        service_tier=told(served.tier),
    )


def _message(answering: _Answering, whole: _Whole) -> ChatCompletionMessage:
    message = ChatCompletionMessage(role="assistant", content=whole.text)
    if whole.reasoning:
        message.reasoning = whole.reasoning
    if whole.calls and answering.by_function:
        message.function_call = _function_call(whole.calls)
    elif whole.calls:
        message.tool_calls = [MessageToolCall.of(call) for call in whole.calls]
    return message


def _function_call(calls: Sequence[ToolCall]) -> CalledFunction:
    return CalledFunction(name=calls[0].name, arguments=calls[0].arguments)
