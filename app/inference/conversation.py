"""What chat completions and responses ask of a model, in one form, and what an answer must keep to.

Knows no wire shape: field names for errors come from the resource that asks.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from adapters_registry.threads import finish
from app.engine.base import ChatJob, Delta, ModelCard, Sampling, ToolCall, ToolUse
from app.errors import (
    CALL_REQUIRED,
    JSON_CUT_OFF,
    JSON_NOT_MATCHING,
    invalid_request,
    json_validate_failed,
    shortened,
    tool_use_failed,
)
from app.inference.json_schema import (
    InvalidDocument,
    check_document,
    check_grammar,
    check_number,
    check_schema,
    decodable,
    is_valid,
)
from app.shares import Shares

_THREADS = 2
_SCHEMAS = ThreadPoolExecutor(_THREADS, thread_name_prefix="schemas")
"""Few for all: more would only take turns at the interpreter's lock with the rest."""
_TURNS = Shares(
    _THREADS, 1, wait_seconds=10.0, refusal="Too many tools and schemas are being checked."
)
"""One at a time for each organisation, so that none holds up the others' tools."""

ANY_OBJECT = {"name": "object", "schema": {"type": "object", "additionalProperties": True}}
"""Not left out: without it xgrammar wants a space behind each comma, and none behind colons."""


@dataclass(frozen=True, slots=True)
class FieldNames:
    """How a resource calls what it asks for; errors name the field that the caller wrote."""

    max_tokens: str
    response_format: str
    reasoning_effort: str
    messages: str
    function: str = "tools.{}.function"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request for an answer. `check_calls` False takes calls of tools that were not declared.

    `tells_reasoning` False keeps thoughts out of errors, which else repeat all that was generated.
    """

    messages: Sequence[dict[str, Any]]
    sampling: Sampling
    names: FieldNames
    tool_use: ToolUse | None = None
    check_calls: bool = True
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    split_reasoning: bool = True
    tells_reasoning: bool = True
    stream: bool = False
    declared: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        tools = self.tool_use.tools if self.tool_use else ()
        names = frozenset(tool["function"]["name"] for tool in tools)
        object.__setattr__(self, "declared", names)

    async def job(self, card: ModelCard, cache_salt: str) -> ChatJob:
        """Return the engine's job. The salt is an organisation's.

        **Raises:** ApiError 400 for what this model cannot do; 503, when too much is checked.
        """
        if self.tool_use is None and self.response_format is None:
            return self._job(card, cache_salt)
        # Schemas take milliseconds each, and hold the interpreter's lock for most of that.
        loop = asyncio.get_running_loop()
        async with _TURNS.hold(org_id=cache_salt):
            work = loop.run_in_executor(_SCHEMAS, self._job, card, cache_salt)
            # A turn lasts as long as its thread, also where the caller has gone.
            return await finish(work, lambda: None)

    def _job(self, card: ModelCard, cache_salt: str) -> ChatJob:
        self._check(card)
        tool_use = _enforceable(self.tool_use)
        check_grammar(_held_to(tool_use), param=self._tools_field)
        return ChatJob(
            messages=self.messages,
            sampling=self.sampling,
            cache_salt=cache_salt,
            tool_use=tool_use,
            response_format=_decodable(self.response_format),
            reasoning_effort=self.reasoning_effort,
            split_reasoning=self.split_reasoning,
            stream=self.stream,
        )

    def _check(self, card: ModelCard) -> None:
        check_limit(self.sampling.max_tokens, card, self.names.max_tokens)
        check_logprobs(self.sampling, card)
        if self.tool_use is not None:
            self._check_tools(card)
        if self.reasoning_effort not in (None, *card.reasoning_efforts):
            field = self.names.reasoning_effort
            raise invalid_request(_efforts(card, field), param=field)
        if self.response_format is not None:
            self._check_format()

    def _check_tools(self, card: ModelCard) -> None:
        assert self.tool_use is not None
        if not card.takes_tools and self.tool_use.choice != "none":
            message = "`tool calling` is not supported with this model"
            raise invalid_request(message, param=self._tools_field)
        check_number(_parameters(self.tool_use.tools), param=self._tools_field)
        for number, tool in enumerate(self.tool_use.tools):
            parameters = tool["function"].get("parameters")
            if parameters is not None:
                strict = tool["function"].get("strict") is True
                place = f"{self.names.function.format(number)}.parameters"
                check_schema(parameters, param=place, strict=strict)

    @property
    def _tools_field(self) -> str:
        return self.names.function.partition(".")[0]

    def _check_format(self) -> None:
        assert self.response_format is not None
        if self.response_format["type"] == "json_schema":
            wanted = self.response_format["json_schema"]
            strict = wanted.get("strict") is True
            check_schema(wanted["schema"], param=self.names.response_format, strict=strict)
        elif not _mentions_json(self.messages):
            message = (
                f"'{self.names.messages}' must contain the word 'json' in some form, to use "
                f"'{self.names.response_format}' of type 'json_object'."
            )
            raise invalid_request(message, param=self.names.messages)


def check_limit(max_tokens: int | None, card: ModelCard, field: str) -> None:
    """Refuse more tokens than the model gives. **Raises:** ApiError 400."""
    most = card.max_completion_tokens
    if max_tokens is not None and max_tokens > most:
        message = (
            f"`{field}` must be less than or equal to `{most}`, the maximum value for "
            f"`{field}` is less than the `context_window` for this model"
        )
        raise invalid_request(message, param=field)


def check_logprobs(sampling: Sampling, card: ModelCard) -> None:
    """Refuse what the catalog has turned off for this model. **Raises:** ApiError 400."""
    if card.tells_logprobs:
        return
    for name, asked in (("logprobs", sampling.logprobs), ("logit_bias", sampling.logit_bias)):
        if asked is not None and asked != {}:
            raise invalid_request(f"`{name}` is not supported with this model", param=name)


def checked(
    conversation: Conversation, deltas: AsyncGenerator[Delta, None]
) -> AsyncGenerator[Delta, None]:
    """Return deltas that go on as long as they keep to what was asked; to be closed.

    **Raises:** ApiError 400 `tool_use_failed` or `json_validate_failed`, with what was generated.
    """
    if conversation.tool_use is None and conversation.response_format is None:
        return deltas
    return _checked(conversation, deltas)


async def _checked(
    conversation: Conversation, deltas: AsyncGenerator[Delta, None]
) -> AsyncGenerator[Delta, None]:
    calls, texts = 0, list[str]()
    async with aclosing(deltas):
        async for delta in deltas:
            for call in delta.tool_calls:
                _check_call(conversation, call)
            calls += len(delta.tool_calls)
            texts.append(delta.text)
            if delta.finish_reason is not None:
                await _check_end(conversation, delta, calls, "".join(texts))
            yield delta


def _check_call(conversation: Conversation, call: ToolCall) -> None:
    problem = None
    if conversation.check_calls and call.name not in conversation.declared:
        problem = f"attempted to call tool '{shortened(call.name)}' which was not in request.tools"
    elif not is_valid(call.arguments, None):
        problem = f"the arguments of tool '{shortened(call.name)}' are not a JSON object"
    if problem is not None:
        written = json.dumps({"name": call.name, "arguments": call.arguments})
        raise tool_use_failed(written, f"tool call validation failed: {problem}")


async def _check_end(conversation: Conversation, last: Delta, calls: int, text: str) -> None:
    use, wanted = conversation.tool_use, conversation.response_format
    if use is not None and not calls and use.choice not in ("none", "auto"):
        raise tool_use_failed(last.raw if conversation.tells_reasoning else text, CALL_REQUIRED)
    if wanted is None or calls:
        return
    try:
        await asyncio.to_thread(check_document, text, _schema(wanted))
    except InvalidDocument as error:
        is_cut = last.finish_reason == "length"
        message = JSON_CUT_OFF if is_cut else f"{JSON_NOT_MATCHING} ({error})"
        raise json_validate_failed(text, message) from error


def _schema(response_format: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if response_format["type"] != "json_schema":
        return None
    schema: Mapping[str, Any] = response_format["json_schema"]["schema"]
    return schema


def _decodable(response_format: dict[str, Any] | None) -> dict[str, Any] | None:
    """Ask of the engine what a grammar can enforce; the rest is checked in the whole answer."""
    if response_format is None:
        return None
    if (schema := _schema(response_format)) is None:
        # vLLM's own grammar for any object wants spaces that those of schemas forbid.
        return {"type": "json_schema", "json_schema": ANY_OBJECT}
    if response_format["json_schema"].get("strict"):
        return response_format
    wanted = {**response_format["json_schema"], "schema": decodable(schema)}
    return {**response_format, "json_schema": wanted}


def _enforceable(use: ToolUse | None) -> ToolUse | None:
    """Hold the arguments of a call that must be made to their schema; clients parse them."""
    if use is None:
        return None
    is_forced = use.choice not in ("none", "auto")
    return replace(use, tools=[_constrained(tool, is_forced) for tool in use.tools])


def _constrained(tool: dict[str, Any], is_forced: bool) -> dict[str, Any]:
    function = tool["function"]
    if function.get("strict") or not is_forced:
        return tool
    parameters = decodable(function.get("parameters") or {"type": "object"})
    return {**tool, "function": {**function, "parameters": parameters, "strict": True}}


def _held_to(use: ToolUse | None) -> list[Mapping[str, Any]]:
    """Return the schemas of the tools whose arguments a grammar enforces."""
    if use is None or use.choice == "none":
        return []
    named = use.choice["function"]["name"] if isinstance(use.choice, dict) else None
    functions = (tool["function"] for tool in use.tools)
    held = (each for each in functions if each.get("strict") and named in (None, each["name"]))
    return _parameters([{"function": each} for each in held])


def _parameters(tools: Sequence[dict[str, Any]]) -> list[Mapping[str, Any]]:
    parameters = (tool["function"].get("parameters") for tool in tools)
    return [schema for schema in parameters if schema is not None]


def _mentions_json(value: Any) -> bool:
    if isinstance(value, str):
        return "json" in value.lower()
    if isinstance(value, dict):
        # An image's bytes spell any short word by chance.
        return any(_mentions_json(item) for key, item in value.items() if key != "image_url")
    return any(map(_mentions_json, value)) if isinstance(value, list | tuple) else False


def _efforts(card: ModelCard, field: str) -> str:
    if not card.reasoning_efforts:
        return f"`{field}` is not supported with this model"
    allowed = ", ".join(f"`{effort}`" for effort in card.reasoning_efforts)
    return f"`{field}` must be one of {allowed} with this model"
