"""Responses over HTTP, called as the official client calls them."""

from typing import Any

import httpx
import openai
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.responses.schemas import ResponseRequest
from app.engine.base import Delta, EngineDead, ToolCall
from tests.app.api.responses.bodies import WEATHER, body, encode, events
from tests.app.api.responses.stubs import Rig
from tests.app.inference.stubs import ADAPTER_HEADERS, ADAPTER_MODEL, BASE, USAGE, answer

URL = "/openai/v1/responses"
TOOL: Any = WEATHER
CALL = ToolCall("call_1", "get_weather", '{"city":"Oslo"}')
CALLED = Delta(reasoning="hm", tool_calls=(CALL,), finish_reason="tool_calls", usage=USAGE)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
FIELDS = st.sampled_from(sorted(ResponseRequest.model_fields))
ITEM_KEYS = st.sampled_from(
    ["type", "role", "content", "call_id", "output", "arguments", "name", "summary", "id", "status"]
)
ITEM_VALUES = JSON | st.sampled_from(
    ["message", "reasoning", "function_call", "function_call_output", "user", "assistant", "{}"]
)


class City(pydantic.BaseModel):
    name: str
    people: int


async def test_an_answer_is_read_in_strict_mode(rig: Rig, client: openai.AsyncOpenAI) -> None:
    rig.engine.script = answer("hel", "lo")
    response = await client.responses.create(model=ADAPTER_MODEL, input="hi")
    assert response.output_text == "hello"
    assert response.id.startswith("resp_")
    assert (response.status, response.model) == ("completed", ADAPTER_MODEL)
    assert response.output[0].id is not None
    assert response.output[0].id.startswith("msg_")
    assert response.usage is not None
    assert response.usage.total_tokens == 10


async def test_a_stream_is_read_in_strict_mode(rig: Rig, client: openai.AsyncOpenAI) -> None:
    rig.engine.script = answer("a\n", '"\u2028', "é🏴‍☠️")
    stream = await client.responses.create(model=BASE, input="hi", stream=True)
    told = [event async for event in stream]
    pieces = [event.delta for event in told if event.type == "response.output_text.delta"]
    assert "".join(pieces) == 'a\n"\u2028é🏴‍☠️'
    assert told[-1].type == "response.completed"
    assert told[-1].response.output_text == "".join(pieces)


async def test_the_stream_helper_accumulates_text_thoughts_and_calls(
    rig: Rig, client: openai.AsyncOpenAI
) -> None:
    rig.engine.script = [Delta("I loo", "hm"), Delta("k"), CALLED]
    async with client.responses.stream(model=BASE, input="hi", tools=[TOOL]) as stream:
        snapshots = [
            event.snapshot async for event in stream if event.type == "response.output_text.delta"
        ]
        response = await stream.get_final_response()
    assert snapshots == ["I loo", "I look"]
    kinds = [item.type for item in response.output]
    assert kinds == ["reasoning", "message", "reasoning", "function_call"]
    assert response.output_text == "I look"


async def test_structured_output_is_parsed(rig: Rig, client: openai.AsyncOpenAI) -> None:
    rig.engine.script = answer('{"name":"Oslo",', '"people":700000}')
    response = await client.responses.parse(model=BASE, input="hi", text_format=City)
    assert response.output_parsed == City(name="Oslo", people=700_000)
    assert rig.engine.jobs[0].response_format["json_schema"]["strict"] is True
    async with client.responses.stream(model=BASE, input="hi", text_format=City) as stream:
        streamed = await stream.get_final_response()
    assert streamed.output_parsed == response.output_parsed


async def test_the_tool_loop_goes_round_with_the_client_s_own_objects(
    rig: Rig, client: openai.AsyncOpenAI
) -> None:
    items: list[Any] = [{"role": "user", "content": "Oslo?"}]
    rig.engine.script = [CALLED]
    first = await client.responses.create(model=BASE, input=items, tools=[TOOL])
    items += first.output
    for item in first.output:
        if item.type == "function_call":
            output = {"type": "function_call_output", "call_id": item.call_id, "output": "24"}
            items.append(output)
    rig.engine.script = answer("24 degrees")
    second = await client.responses.create(model=BASE, input=items, tools=[TOOL])
    assert second.output_text == "24 degrees"
    roles = [message["role"] for message in rig.engine.jobs[1].messages]
    assert roles == ["user", "assistant", "tool"]
    items += second.output
    rig.engine.script = answer("bye")
    last = await client.responses.create(
        model=BASE, input=[*items, {"role": "user", "content": "?"}]
    )
    assert last.output_text == "bye"


async def test_parsed_output_goes_back_as_input(rig: Rig, client: openai.AsyncOpenAI) -> None:
    rig.engine.script = answer('{"name":"Oslo","people":700000}')
    first = await client.responses.parse(model=BASE, input="hi", text_format=City)
    items: list[Any] = [*first.output, {"role": "user", "content": "and?"}]
    second = await client.responses.parse(model=BASE, input=items, text_format=City)
    assert second.status == "completed"


async def test_a_dumped_output_goes_back_as_input(rig: Rig, client: openai.AsyncOpenAI) -> None:
    rig.engine.script = [CALLED]
    first = await client.responses.create(model=BASE, input="hi", tools=[TOOL])
    items: list[Any] = [item.model_dump() for item in first.output]
    rig.engine.script = answer("a")
    second = await client.responses.create(model=BASE, input=items)
    assert second.status == "completed"


async def test_an_answer_that_is_cut_is_incomplete(rig: Rig, client: openai.AsyncOpenAI) -> None:
    rig.engine.script = [Delta("a"), Delta("b", finish_reason="length", usage=USAGE)]
    response = await client.responses.create(model=BASE, input="hi", max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


async def test_an_error_after_the_first_token_is_an_event(
    rig: Rig, client: openai.AsyncOpenAI
) -> None:
    rig.engine.script = [Delta("a"), EngineDead("pid 7")]
    stream = await client.responses.create(model=BASE, input="hi", stream=True)
    *_, error, failed = [event async for event in stream]
    assert error.type == "error"
    assert error.message == "The service is temporarily unavailable."
    assert failed.type == "response.failed"
    assert failed.response.status == "failed"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_first_token_is_an_http_error(
    rig: Rig, http: httpx.AsyncClient, stream: bool
) -> None:
    rig.engine.script = [EngineDead("pid 7")]
    response = await http.post(URL, json=body(stream=stream))
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_model_is_a_plain_404(http: httpx.AsyncClient, stream: bool) -> None:
    response = await http.post(URL, json=body(model="nope", stream=stream))
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


async def test_a_stored_response_is_refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="nothing is stored here"):
        await client.responses.create(model=BASE, input="hi", previous_response_id="resp_1")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_adapter_s_answer_carries_its_headers(
    rig: Rig, http: httpx.AsyncClient, stream: bool
) -> None:
    rig.engine.script = answer("arr")
    response = await http.post(URL, json=body(model=ADAPTER_MODEL, stream=stream))
    assert {**response.headers, **ADAPTER_HEADERS} == dict(response.headers)
    assert "x-ratelimit-remaining-tokens" in response.headers


@pytest.mark.parametrize(
    ("header", "told"),
    [("inference-metrics", True), ("other, inference-metrics", True), ("other", False)],
)
async def test_metrics_are_told_by_a_header(
    rig: Rig, http: httpx.AsyncClient, header: str, told: bool
) -> None:
    rig.engine.script = answer("a")
    headers = {"Groq-Beta": header}
    metadata = (await http.post(URL, json=body(), headers=headers)).json()["metadata"]
    assert ("queue_time" in metadata) == told
    stream = await http.post(URL, json=body(stream=True), headers=headers)
    assert ("queue_time" in events(stream.content)[-1]["response"]["metadata"]) == told


@given(fields=st.dictionaries(FIELDS | st.text(max_size=8), JSON, max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_json_value_in_any_field_makes_a_server_error(
    rig: Rig, http: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    rig.engine.script = answer("a")
    response = await http.post(URL, content=encode(body(**fields)))
    assert response.status_code == 200 or 400 <= response.status_code < 500


@given(item=st.dictionaries(ITEM_KEYS, ITEM_VALUES, max_size=6))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_item_makes_a_server_error(
    rig: Rig, http: httpx.AsyncClient, item: dict[str, Any]
) -> None:
    rig.engine.script = answer("a")
    response = await http.post(URL, content=encode(body(input=[item])))
    assert response.status_code == 200 or 400 <= response.status_code < 500
    assert len(response.content) < 4_000
