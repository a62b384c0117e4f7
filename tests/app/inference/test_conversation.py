"""What a conversation asks of the engine, and what its answer is held to."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from app.engine.base import ChatJob, Delta, ModelCard, Sampling, ToolCall, ToolUse
from app.errors import ApiError
from app.inference import conversation as conversations
from app.inference.conversation import Conversation, FieldNames, checked
from tests.app.inference.stubs import CARD, USAGE, answer
from tests.stopwatch import cpu_time

NAMES = FieldNames("max_tokens", "response_format", "reasoning_effort", "messages")
USER = {"role": "user", "content": "hi"}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
JSON_OBJECT = {"type": "json_object"}
PLAIN = replace(CARD, takes_tools=False, tells_logprobs=False, reasons=False, reasoning_efforts=())


def function(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def conversation(*tools: dict[str, Any], choice: Any = "auto", **fields: Any) -> Conversation:
    use = ToolUse(tools, choice) if tools else None
    asked = {"messages": [USER], "sampling": Sampling(), "names": NAMES, **fields}
    return Conversation(tool_use=use, **asked)


def json_schema(schema: Any, *, strict: bool = False) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": strict}}


async def job(asked: Conversation, card: ModelCard = CARD) -> ChatJob:
    return await asked.job(card, "salt")


async def refusal(asked: Conversation, card: ModelCard = CARD) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await job(asked, card)
    assert caught.value.status == 400
    return caught.value


async def read(asked: Conversation, deltas: list[Delta]) -> list[Delta]:
    async def script() -> AsyncGenerator[Delta, None]:
        for delta in deltas:
            yield delta

    async with aclosing(checked(asked, script())) as kept:
        return [delta async for delta in kept]


async def failure(asked: Conversation, deltas: list[Delta]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await read(asked, deltas)
    return caught.value


async def test_the_job_is_what_was_asked() -> None:
    asked = conversation(reasoning_effort="low", split_reasoning=False, stream=True)
    assert await job(asked) == ChatJob(
        [USER], Sampling(), "salt", reasoning_effort="low", split_reasoning=False
    )


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (PLAIN, "`reasoning_effort` is not supported with this model"),
        (
            CARD,
            "`reasoning_effort` must be one of `none`, `default`, `low`, `high` with this model",
        ),
    ],
)
async def test_an_effort_that_the_model_does_not_know_is_refused(
    card: ModelCard, said: str
) -> None:
    error = await refusal(conversation(reasoning_effort="medium"), card)
    assert (error.message, error.param) == (said, "reasoning_effort")


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        (Sampling(logprobs=0), "logprobs"),
        (Sampling(logprobs=5), "logprobs"),
        (Sampling(logit_bias={"1": 2.0}), "logit_bias"),
    ],
)
async def test_logprobs_are_refused_where_the_catalog_says_so(
    sampling: Sampling, field: str
) -> None:
    asked = conversation(sampling=sampling)
    error = await refusal(asked, PLAIN)
    assert error.message == f"`{field}` is not supported with this model"
    assert error.param == field
    assert (await job(asked)).sampling == sampling


@pytest.mark.parametrize(
    ("names", "param"),
    [(NAMES, "tools"), (replace(NAMES, function="functions.{}"), "functions")],
)
async def test_tools_are_refused_by_a_model_that_has_no_parser_for_them(
    names: FieldNames, param: str
) -> None:
    error = await refusal(conversation(function(), names=names), PLAIN)
    assert (error.message, error.param) == (
        "`tool calling` is not supported with this model",
        param,
    )


async def test_tools_that_may_not_be_called_need_no_parser() -> None:
    assert (await job(conversation(function(), choice="none"), PLAIN)).tool_use is not None


FORCED: list[Any] = ["required", {"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize("choice", FORCED)
async def test_a_forced_call_is_held_to_what_a_grammar_can_enforce_of_its_schema(
    choice: Any,
) -> None:
    schema = {**CITY, "not": {"required": ["x"]}}
    use = (await job(conversation(function(parameters=schema), choice=choice))).tool_use
    assert use is not None
    assert use.tools[0]["function"]["strict"] is True
    assert "not" not in use.tools[0]["function"]["parameters"]


@pytest.mark.parametrize("choice", ["auto", "none"])
async def test_a_call_that_may_be_made_is_held_to_nothing(choice: str) -> None:
    tool = function(parameters=CITY)
    use = (await job(conversation(tool, choice=choice))).tool_use
    assert use is not None
    assert list(use.tools) == [tool]


@pytest.mark.parametrize(("choice", "kept"), [("auto", False), ("required", True)])
async def test_a_call_that_must_be_made_keeps_to_its_schema_whatever_strict_says(
    choice: str, kept: bool
) -> None:
    strict, loose = function("a", parameters=CITY, strict=True), function("b", strict=False)
    use = (await job(conversation(strict, loose, choice=choice))).tool_use
    assert use is not None
    assert [tool["function"]["strict"] for tool in use.tools] == [True, kept]


async def test_a_strict_tool_must_keep_to_the_rules() -> None:
    open_ended = {"type": "object", "properties": {"a": {"type": "string"}}}
    error = await refusal(
        conversation(function(), function("g", parameters=open_ended, strict=True))
    )
    assert (error.param or "").startswith("tools.1.function.parameters")


async def test_a_schema_that_is_no_schema_is_refused_by_its_field() -> None:
    error = await refusal(conversation(response_format=json_schema({"type": 7})))
    assert error.param == "response_format"
    assert error.extra["schema_path"]


async def test_a_grammar_is_asked_for_as_much_of_a_loose_schema_as_it_can() -> None:
    schema = {**CITY, "not": {"required": ["x"]}}
    format = (await job(conversation(response_format=json_schema(schema)))).response_format
    assert format is not None
    assert format["json_schema"]["schema"] == CITY


@pytest.mark.parametrize(
    "content",
    ["Answer in JSON.", [{"type": "text", "text": "as json, please"}], "json"],
)
async def test_json_mode_wants_the_word_in_a_message(content: Any) -> None:
    asked = conversation(response_format=JSON_OBJECT)
    error = await refusal(asked)
    assert (error.message, error.param) == (
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
        "'json_object'.",
        "messages",
    )
    told = replace(asked, messages=[USER, {"role": "system", "content": content}])
    asked_for = (await job(told)).response_format
    assert asked_for is not None
    assert asked_for["json_schema"]["schema"] == {"type": "object", "additionalProperties": True}


async def test_an_images_bytes_do_not_ask_for_json() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,JSONjson"}}
    messages = [{"role": "user", "content": [image]}]
    error = await refusal(conversation(messages=messages, response_format=JSON_OBJECT))
    assert error.param == "messages"


async def test_many_large_tools_take_no_time_of_other_requests() -> None:
    properties = {f"property_{n}": {"type": "string", "title": "x" * 80} for n in range(450)}
    schema = {"type": "object", "properties": properties}
    tools = [function(f"f{n}", parameters=schema) for n in range(20)]
    assert 50_000 < len(json.dumps(schema)) < 65_000
    with cpu_time() as in_loop:
        await job(conversation(*tools))
    assert in_loop.seconds < 0.05


def wide(names: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(names)}}


def long(length: int) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1, "maxLength": length}
    return {**CITY, "properties": {"city": text}}


async def test_all_schemas_of_tools_together_are_bounded() -> None:
    tools = [function(f"f{n}", parameters=wide(450)) for n in range(23)]
    error = await refusal(conversation(*tools))
    assert (error.param, error.extra["schema_code"]) == ("tools", "too_many_nodes")


@pytest.mark.parametrize(
    "schemas", [[wide(400), wide(400)], [long(200 + n) for n in range(8)]], ids=["wide", "long"]
)
async def test_what_a_call_is_held_to_must_compile_soon(schemas: list[dict[str, Any]]) -> None:
    tools = [function(f"f{n}", parameters=schema) for n, schema in enumerate(schemas)]
    error = await refusal(conversation(*tools, choice="required"))
    assert (error.param, error.extra["schema_code"]) == ("tools", "schemas_too_costly")
    assert (await job(conversation(*tools))).tool_use is not None
    named = {"type": "function", "function": {"name": "f0"}}
    assert (await job(conversation(*tools, choice=named))).tool_use is not None


async def test_strict_tools_count_together_also_where_none_must_be_called() -> None:
    tools = [function(f"f{n}", parameters=long(200 + n), strict=True) for n in range(8)]
    error = await refusal(conversation(*tools))
    assert error.extra["schema_code"] == "schemas_too_costly"


async def test_deltas_pass_as_they_are() -> None:
    script = answer("a", "b")
    assert await read(conversation(), script) == script


def ended(text: str = "", reason: Any = "stop", **fields: Any) -> list[Delta]:
    return [Delta(text), Delta(finish_reason=reason, usage=USAGE, **fields)]


async def test_a_document_that_fits_is_an_answer() -> None:
    asked = conversation(response_format=json_schema(CITY))
    assert await read(asked, ended('{"city": "Lima"}', "length"))


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        (
            '{"town": "Lima"}',
            "stop",
            "Generated JSON does not match the expected schema. Please adjust your prompt. See "
            "'failed_generation' for more details. ",
        ),
        ("Lima", "stop", "Generated JSON does not match"),
        (
            '{"city": "Li',
            "length",
            "max completion tokens reached before generating a valid document",
        ),
        ("", "length", "max completion tokens reached before generating a valid document"),
    ],
)
@pytest.mark.parametrize("format", [json_schema(CITY), json_schema(CITY, strict=True)])
async def test_a_document_that_does_not_fit_fails_with_what_was_generated(
    format: Any, text: str, reason: str, said: str
) -> None:
    error = await failure(conversation(response_format=format), ended(text, reason))
    assert (error.status, error.code) == (400, "json_validate_failed")
    assert error.message.startswith(said)
    assert error.extra == {"failed_generation": text}


async def test_json_mode_holds_an_answer_to_an_object() -> None:
    asked = conversation(response_format=JSON_OBJECT)
    assert await read(asked, ended("{}"))
    assert (await failure(asked, ended("[]"))).code == "json_validate_failed"


async def test_a_call_stands_in_the_place_of_a_document() -> None:
    asked = conversation(function(), response_format=json_schema(CITY))
    deltas = [Delta(tool_calls=[ToolCall("c", "f", "{}")]), *ended(reason="tool_calls")]
    assert await read(asked, deltas)


RAW = "<think>secret</think>No call."


@pytest.mark.parametrize(("tells", "told"), [(True, RAW), (False, "No call.")])
async def test_thoughts_that_are_hidden_are_not_told_by_an_error(tells: bool, told: str) -> None:
    asked = conversation(function(), choice="required", tells_reasoning=tells)
    deltas = [Delta(reasoning="secret"), *ended("No call.", raw=RAW)]
    error = await failure(asked, deltas)
    assert error.extra == {"failed_generation": told}


async def test_a_refused_call_ends_the_generation() -> None:
    closed = False

    async def script() -> AsyncGenerator[Delta, None]:
        nonlocal closed
        try:
            yield Delta(tool_calls=[ToolCall("c", "g", "{}")])
            raise AssertionError("read on")
        finally:
            closed = True

    with pytest.raises(ApiError):
        async for _ in checked(conversation(function()), script()):
            pass
    assert closed


async def test_one_organisations_schemas_hold_up_nobody_elses() -> None:
    """A job with tools takes its turn: another of the same organisation waits for it."""
    heavy = conversation(*(function(f"f{n}", parameters=CITY) for n in range(100)))
    light = conversation(function("f", parameters=CITY))
    order: list[str] = []

    async def ask(wanted: Conversation, salt: str) -> None:
        await wanted.job(CARD, salt)
        order.append(salt)

    await asyncio.gather(*(ask(heavy, "crowd") for _ in range(8)), ask(light, "other"))
    assert order.index("other") <= 2


async def test_who_goes_away_keeps_its_turn_until_its_thread_has_ended() -> None:
    heavy = conversation(*(function(f"f{n}", parameters=CITY) for n in range(100)))
    going = [asyncio.ensure_future(heavy.job(CARD, "crowd")) for _ in range(4)]
    await asyncio.sleep(0)
    for task in going:
        task.cancel()
    await asyncio.gather(*going, return_exceptions=True)
    assert conversations._TURNS.held == {}
    assert conversations._SCHEMAS._work_queue.empty()
