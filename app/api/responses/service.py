"""Responses without HTTP: from a checked request to an answer or to a stream's bytes.

Nothing is kept between requests. What a request asks is put as a Conversation, which inference
serves; shapes are made here.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any

from app.api.responses.assembly import Assembly
from app.api.responses.events import EventEncoder
from app.api.responses.response import Response
from app.api.responses.schemas import ResponseRequest
from app.api.responses.tools import chosen
from app.api.responses.turns import joined
from app.engine.base import Delta, ModelCard, Sampling, ToolUse, Usage
from app.errors import ApiError
from app.ids import new_id
from app.inference.context import RequestContext
from app.inference.conversation import Conversation, FieldNames, checked
from app.inference.generation import Generation
from app.inference.ports import ImageIntake
from app.inference.serving import Inference
from app.sse import log_failed, started

NAMES = FieldNames(
    max_tokens="max_output_tokens",
    response_format="text.format",
    reasoning_effort="reasoning.effort",
    messages="input",
    function="tools.{}",
)


@dataclass(frozen=True, slots=True)
class _Answering:
    """One request that is being answered."""

    context: RequestContext
    request: ResponseRequest
    wants_metrics: bool
    id: str
    created: int

    def begun(self, served: Generation) -> Response:
        """Return the response before it has any output."""
        request, model = self.request, served.id
        begun = Response.begun(request, id=self.id, created=self.created, model=model)
        return begun.at(served.tier)

    def ended(self, served: Generation, assembly: Assembly, last: Delta) -> Response:
        """Return the response with its output."""
        usage = _usage(last)
        response = self.begun(served).ended(assembly.items, usage, is_cut=_is_cut(last))
        return response.with_metrics(usage) if self.wants_metrics else response


class ResponsesService:
    """Answers requests for responses."""

    def __init__(self, inference: Inference, images: ImageIntake) -> None:
        self._inference = inference
        self._images = images

    async def complete(
        self, context: RequestContext, request: ResponseRequest, *, wants_metrics: bool = False
    ) -> Response:
        """Generate the whole answer. Cancelling aborts it in the engine. **Raises:** ApiError.

        `wants_metrics` puts the engine's times into the answer's metadata.
        """
        answering = _answering(context, request, wants_metrics)
        assembly, last = Assembly(), Delta()
        async with self._open(answering) as served:
            async with aclosing(self._deltas(answering, served)) as deltas:
                async for delta in deltas:
                    assembly.add(delta)
                    last = delta
            assembly.end(is_cut=_is_cut(last))
            return answering.ended(served, assembly, last)

    async def stream(
        self, context: RequestContext, request: ResponseRequest, *, wants_metrics: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Generate an answer as server-sent events; returns once the first token is there.

        The caller must close what it gets; that aborts what still runs in the engine.
        **Raises:** ApiError, for all that goes wrong before the first token.
        """
        return await started(self._frames(_answering(context, request, wants_metrics)))

    async def _frames(self, answering: _Answering) -> AsyncGenerator[bytes, None]:
        """Yield nothing first, once the first token is there."""
        async with (
            self._open(answering) as served,
            aclosing(self._deltas(answering, served)) as deltas,
        ):
            delta = await anext(deltas)
            yield b""
            assembly, encoder = Assembly(), EventEncoder()
            opening = encoder.begun(answering.begun(served))
            try:
                while delta.finish_reason is None:
                    yield opening + encoder.steps(assembly.add(delta))
                    opening = b""
                    delta = await anext(deltas)
            except ApiError as error:
                log_failed(answering.context.id, error)
                failed = answering.begun(served).failed(assembly.broken_off(), error.message)
                yield opening + encoder.error(error) + encoder.ended(failed)
                return
            steps = assembly.add(delta) + assembly.end(is_cut=_is_cut(delta))
            whole = answering.ended(served, assembly, delta)
            yield opening + encoder.steps(steps) + encoder.ended(whole)

    def _open(self, answering: _Answering) -> AbstractAsyncContextManager[Generation]:
        request = answering.request
        return self._inference.open(
            Generation, answering.context, request.model, request.tier, field=NAMES.messages
        )

    async def _deltas(
        self, answering: _Answering, served: Generation
    ) -> AsyncGenerator[Delta, None]:
        conversation = await self._conversation(answering, served)
        job = await conversation.job(served.card, served.cache_salt)
        deltas = served.generate(await served.prepare(job))
        async with aclosing(checked(conversation, deltas)) as kept:
            async for delta in kept:
                yield delta

    async def _conversation(self, answering: _Answering, served: Generation) -> Conversation:
        request = answering.request
        return Conversation(
            messages=await self._messages(answering, served.card),
            sampling=_sampling(request),
            names=NAMES,
            tool_use=_tool_use(request),
            response_format=request.text_config.wanted(),
            reasoning_effort=request.effort,
            stream=bool(request.stream),
        )

    async def _messages(self, answering: _Answering, card: ModelCard) -> list[dict[str, Any]]:
        """Return the conversation; items are numbered as the caller did until images are in."""
        request, org_id = answering.request, answering.context.caller.org_id
        items = [item.prompt() for item in request.items]
        taken = await self._images.taken_in(items, card, org_id=org_id, field="input")
        messages = joined(taken)
        if isinstance(request.input, str):
            messages = [{"role": "user", "content": request.input}]
        if request.instructions:
            return [{"role": "system", "content": request.instructions}, *messages]
        return messages


def _answering(
    context: RequestContext, request: ResponseRequest, wants_metrics: bool
) -> _Answering:
    return _Answering(context, request, wants_metrics, new_id("resp"), int(time.time()))


def _sampling(request: ResponseRequest) -> Sampling:
    return Sampling(
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        max_tokens=request.max_output_tokens,
    )


def _tool_use(request: ResponseRequest) -> ToolUse | None:
    tools = [tool.tool() for tool in request.tools or ()]
    if not tools:
        return None
    return ToolUse(tools, chosen(request.tool_choice), request.parallel_tool_calls is not False)


def _is_cut(last: Delta) -> bool:
    return last.finish_reason == "length"


def _usage(last: Delta) -> Usage:
    assert last.usage is not None, "inference ends with an outcome"
    return last.usage
