"""The responses service on scripted inference."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.responses.schemas import ResponseRequest
from app.api.responses.service import ResponsesService
from app.engine.base import Delta, EngineDead, ModelCard, PromptTooLong, ToolCall
from app.errors import ApiError
from tests.app.api.responses.bodies import WEATHER, Accumulated, events, request
from tests.app.api.responses.stubs import Rig
from tests.app.inference.stubs import ADAPTER_MODEL, BASE, CARD, ORG, USAGE, answer

CALL = ToolCall("call_1", "get_weather", '{"city":"Oslo"}')
ANY_OBJECT: dict[str, Any] = {"type": "object"}


def ending(delta: Delta, reason: Any = "stop") -> Delta:
    return replace(delta, finish_reason=reason, usage=USAGE)


async def complete(rig: Rig, asked: ResponseRequest) -> dict[str, Any]:
    response = await rig.service.complete(rig.context, asked)
    return response.model_dump(mode="json")


async def streamed(rig: Rig, asked: ResponseRequest) -> list[dict[str, Any]]:
    frames = await rig.service.stream(rig.context, asked)
    async with aclosing(frames):
        return events(b"".join([frame async for frame in frames]))


def nameless(value: Any) -> Any:
    """Return the value with each id cut to its prefix, and without the time."""
    if isinstance(value, list):
        return [nameless(item) for item in value]
    if not isinstance(value, dict):
        return value
    bare = {key: nameless(item) for key, item in value.items() if key != "created_at"}
    return bare | ({"id": bare["id"].partition("_")[0]} if "id" in bare else {})


TEXTS = st.sampled_from(["", "", "a", " ", "\n\n", '"\u2028', "é🏴‍☠️"])
CALLS = st.lists(st.builds(ToolCall, st.uuids().map(str), st.just("get_weather"), st.just("{}")))
DELTAS = st.builds(Delta, TEXTS, TEXTS, CALLS.filter(lambda calls: len(calls) < 3))
SCRIPTS = st.tuples(
    st.lists(DELTAS, max_size=6),
    st.builds(ending, DELTAS, st.sampled_from(["stop", "length", "tool_calls"])),
).map(lambda script: [*script[0], script[1]])


@given(script=SCRIPTS)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_for_any_deltas_a_stream_says_what_a_plain_answer_says(
    rig: Rig, script: list[Delta]
) -> None:
    rig.engine.script = script
    told = await streamed(rig, request(tools=[WEATHER], stream=True))
    whole = await complete(rig, request(tools=[WEATHER]))
    accumulated = Accumulated(told)

    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert not accumulated.open
    assert told[-1]["response"]["output"] == accumulated.done
    states = {item["status"] for item in accumulated.items}
    assert states == {"in_progress"}
    assert nameless(accumulated.done) == nameless(whole["output"])
    assert [{**item, "status": ""} for item in accumulated.items] == [
        {**item, "status": ""} for item in accumulated.done
    ]
    assert nameless(told[-1]["response"]) == nameless(whole)


@given(script=SCRIPTS)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_answer_can_be_pushed_back_as_input(rig: Rig, script: list[Delta]) -> None:
    rig.engine.script = script
    whole = await complete(rig, request(tools=[WEATHER]))
    outputs = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "24"}
        for item in whole["output"]
        if item["type"] == "function_call"
    ]
    again = request(tools=[WEATHER], input=[*whole["output"], *outputs])
    await complete(rig, again)
    roles = [message["role"] for message in rig.engine.jobs[-1].messages]
    assert set(roles) <= {"assistant", "tool"}
    assert all(
        message.get("content") is not None or message["tool_calls"]
        for message in rig.engine.jobs[-1].messages
    )


async def test_a_text_is_the_user_s_and_instructions_come_first(rig: Rig) -> None:
    rig.engine.script = answer("a")
    await complete(rig, request(instructions="Be brief."))
    assert rig.engine.jobs[0].messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]


async def test_instructions_come_before_the_items(rig: Rig) -> None:
    rig.engine.script = answer("a")
    items = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "hi"}]
    await complete(rig, request(instructions="Be brief.", input=items))
    contents = [message["content"] for message in rig.engine.jobs[0].messages]
    assert contents == ["Be brief.", "Be kind.", "hi"]


class NumberedImages:
    """Puts each image's place in its place, as the caller numbers messages and parts."""

    async def taken_in(
        self, messages: Sequence[dict[str, Any]], card: ModelCard, *, org_id: str, field: str
    ) -> list[dict[str, Any]]:
        assert org_id == ORG
        return [
            {**message, "content": [f"{field}.{number}.content.{n}" for n in range(2)]}
            if isinstance(message.get("content"), list)
            else message
            for number, message in enumerate(messages)
        ]


async def test_images_are_numbered_as_the_caller_wrote_them(rig: Rig) -> None:
    rig.engine.script = answer("a")
    service = ResponsesService(rig.inference, NumberedImages())
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
    image = {"type": "input_image", "image_url": "https://example.com/cat.png"}
    items = [call, {**call, "call_id": "b"}, {"role": "user", "content": [image, image]}]
    await service.complete(rig.context, request(instructions="Be brief.", input=items))
    places = [f"input.2.content.{n}" for n in range(2)]
    assert rig.engine.jobs[0].messages[-1] == {"role": "user", "content": places}


async def test_the_tool_loop_is_one_answer_and_its_results(rig: Rig) -> None:
    rig.engine.script = [ending(Delta("", "hm", (CALL,)), "tool_calls")]
    question = [{"role": "user", "content": "Oslo?"}]
    first = await complete(rig, request(tools=[WEATHER], input=question))
    output = {"type": "function_call_output", "call_id": "call_1", "output": "24"}
    await complete(rig, request(tools=[WEATHER], input=[*question, *first["output"], output]))
    function = {"name": "get_weather", "arguments": CALL.arguments}
    assert rig.engine.jobs[1].messages == [
        {"role": "user", "content": "Oslo?"},
        {
            "role": "assistant",
            "reasoning": "hm",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "24"},
    ]


async def test_parameters_reach_the_engine(rig: Rig) -> None:
    rig.engine.script = answer("a")
    asked = request(
        tools=[{**WEATHER, "strict": None}],
        parallel_tool_calls=False,
        max_output_tokens=5,
        temperature=0,
        top_p=0.5,
        reasoning={"effort": "low"},
    )
    await complete(rig, asked)
    (job,) = rig.engine.jobs
    assert (job.sampling.max_tokens, job.sampling.temperature, job.sampling.top_p) == (5, 0, 0.5)
    assert job.sampling.seed is None
    assert job.reasoning_effort == "low"
    function = {key: value for key, value in WEATHER.items() if key != "type"}
    assert job.tool_use.tools == [{"type": "function", "function": function}]
    assert (job.tool_use.choice, job.tool_use.parallel) == ("auto", False)
    assert not job.stream


async def test_a_chosen_tool_reaches_the_engine_in_the_shape_of_chat_completions(rig: Rig) -> None:
    rig.engine.script = [ending(Delta(tool_calls=(CALL,)), "tool_calls")]
    named = {"type": "function", "name": "get_weather"}
    await complete(rig, request(tools=[WEATHER], tool_choice=named))
    chosen = {"type": "function", "function": {"name": "get_weather"}}
    assert rig.engine.jobs[0].tool_use.choice == chosen


async def test_a_schema_reaches_the_engine(rig: Rig) -> None:
    rig.engine.script = answer("{}")
    flat = {"type": "json_schema", "name": "n", "schema": ANY_OBJECT}
    response = await complete(rig, request(text={"format": flat}))
    assert rig.engine.jobs[0].response_format["json_schema"]["name"] == "n"
    assert response["output"][0]["content"][0]["text"] == "{}"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_output_tokens": CARD.max_completion_tokens + 1}, "max_output_tokens"),
        ({"text": {"format": {"type": "json_object"}}}, "input"),
        ({"reasoning": {"effort": "xhigh"}}, "reasoning.effort"),
    ],
)
async def test_what_a_model_cannot_do_is_said_in_the_caller_s_words(
    rig: Rig, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(ApiError) as caught:
        await complete(rig, request(**fields))
    assert (caught.value.status, caught.value.param) == (400, param)
    assert param in caught.value.message


async def test_a_schema_that_breaks_a_rule_is_named_by_its_place(rig: Rig) -> None:
    tool = {**WEATHER, "strict": True}
    with pytest.raises(ApiError) as caught:
        await complete(rig, request(tools=[tool]))
    assert caught.value.status == 400
    assert (caught.value.param or "").startswith("tools.0.parameters")


async def test_too_long_an_input_is_named(rig: Rig) -> None:
    rig.engine.refusal = PromptTooLong("private")
    with pytest.raises(ApiError) as caught:
        await complete(rig, request())
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")


async def test_a_stream_that_fails_tells_the_error_and_what_there_was(rig: Rig) -> None:
    rig.engine.script = [Delta("a", "r"), EngineDead("pid 7")]
    told = await streamed(rig, request(stream=True))
    error, failed = told[-2:]
    assert (error["type"], error["code"]) == ("error", None)
    assert error["message"] == "The service is temporarily unavailable."
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"] == {"code": "server_error", "message": error["message"]}
    assert failed["response"]["usage"] is None
    assert [item["status"] for item in failed["response"]["output"]] == ["completed", "incomplete"]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))


async def test_a_document_that_breaks_its_schema_fails_a_stream_with_its_code(rig: Rig) -> None:
    rig.engine.script = [Delta("[1"), ending(Delta("]"))]
    flat = {"type": "json_schema", "name": "n", "schema": ANY_OBJECT}
    told = await streamed(rig, request(stream=True, text={"format": flat}))
    assert (told[-2]["code"], told[-2]["failed_generation"]) == ("json_validate_failed", "[1]")
    assert told[-1]["type"] == "response.failed"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_first_token_is_raised(rig: Rig, stream: bool) -> None:
    rig.engine.script = [EngineDead("pid 7")]
    begin = rig.service.stream if stream else rig.service.complete
    with pytest.raises(ApiError) as caught:
        await begin(rig.context, request(stream=stream))
    assert caught.value.status == 503


async def test_closing_a_stream_aborts_it_and_gives_the_adapter_back(rig: Rig) -> None:
    rig.engine.script = [Delta("a"), asyncio.Event()]
    frames = await rig.service.stream(rig.context, request(model=ADAPTER_MODEL, stream=True))
    assert b"response.created" in await anext(frames)
    assert rig.adapters.held == 1
    await frames.aclose()
    assert rig.engine.closed.is_set()
    assert rig.adapters.held == 0


async def test_an_alias_is_answered_with_the_id_of_the_version(rig: Rig) -> None:
    rig.engine.script = answer("arr")
    response = await complete(rig, request(model=ADAPTER_MODEL))
    assert response["model"] == ADAPTER_MODEL
    assert (await complete(rig, request()))["model"] == BASE


@pytest.mark.parametrize("stream", [False, True])
async def test_metrics_are_told_where_they_are_asked_for(rig: Rig, stream: bool) -> None:
    rig.engine.script = answer("a", "b")
    asked = request(stream=stream, metadata={"k": "v"})
    if stream:
        frames = await rig.service.stream(rig.context, asked, wants_metrics=True)
        told = events(b"".join([frame async for frame in frames]))
        assert told[0]["response"]["metadata"] == {"k": "v"}
        metadata = told[-1]["response"]["metadata"]
    else:
        response = await rig.service.complete(rig.context, asked, wants_metrics=True)
        metadata = json.loads(response.json_bytes())["metadata"]
    assert metadata["k"] == "v"
    assert metadata["total_time"] == "0.750000000"


async def test_the_tier_that_serves_is_told(rig: Rig) -> None:
    rig.engine.script = answer("a")
    assert (await complete(rig, request(service_tier="flex")))["service_tier"] == "flex"
    assert (await complete(rig, request()))["service_tier"] == "default"
    rig.limits.tiers = {"on_demand", "flex"}
    assert (await complete(rig, request(service_tier="auto")))["service_tier"] == "default"
