"""What lines of a batch are answered: as HTTP answers them, and never with another exception."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from adapters_registry.errors import StoreUnavailable
from app.adapters.resolver import ResolvedModel
from app.api.embeddings.embedding_list import NUMBERS_IN_PIECE
from app.batches.lines import URLS
from app.engine.base import Delta, EngineDead, PromptTooLong, ToolCall
from app.engine.pooling import InputRefused
from app.errors import ApiError, internal_error
from app.pools.directory import Pool, ServedElsewhere
from tests.app.api.application import JSON
from tests.app.batch_world import (
    BODIES,
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    RERANKING,
    RESPONSES,
    TRANSCRIPTIONS,
    World,
    plain,
)
from tests.app.inference.stubs import ADAPTER_MODEL, BASE, USAGE, answer
from tests.contract.groq_schema import expected, violations
from tests.stopwatch import cpu_time

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}},
}
STREAMING = (CHAT, COMPLETIONS, RESPONSES, TRANSCRIPTIONS)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    for rig in (world.chat, world.completions, world.responses):
        rig.engine.script = answer("a ", "bé")
    return world


def test_the_endpoints_are_those_that_lines_may_name(world: World) -> None:
    assert set(world.endpoints) == set(URLS)


async def same(world: World, url: str, body: dict[str, Any]) -> str:
    """Ask in both ways, and return what both are answered."""
    response = await world.over_http(url, body)
    assert response.status_code == 200, response.text
    line = plain(await world.line(url, body))
    assert line == plain(response.content)
    assert "\n" not in line, "a line of the output can hold it as it is"
    return line


@pytest.mark.parametrize("url", BODIES)
async def test_a_line_is_answered_as_over_http(world: World, url: str) -> None:
    assert await same(world, url, BODIES[url])


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        (CHAT, {"model": ADAPTER_MODEL}),
        (CHAT, {"stream": False, "temperature": 0, "max_completion_tokens": 5, "n": 1}),
        (CHAT, {"stream": None, "stop": ["x"], "user": "u", "metadata": {"a": "b"}}),
        (COMPLETIONS, {"prompt": ["a", "b"], "echo": True, "max_tokens": 3}),
        (COMPLETIONS, {"prompt": [[1, 2], [3]]}),
        (EMBEDDINGS, {"encoding_format": "base64", "model": ADAPTER_MODEL}),
        (EMBEDDINGS, {"input": [1, 2, 3]}),
        (RESPONSES, {"instructions": "Be brief.", "metadata": {"a": "b"}, "store": False}),
        (RESPONSES, {"input": [{"role": "user", "content": "hi"}], "max_output_tokens": 4}),
        (RERANKING, {"instruction": "Find it."}),
    ],
)
async def test_the_fields_of_a_body_mean_what_they_mean_over_http(
    world: World, url: str, fields: dict[str, Any]
) -> None:
    await same(world, url, {**BODIES[url], **fields})


async def test_a_call_of_a_tool_is_answered_as_over_http(world: World) -> None:
    call = ToolCall("call_1", "look", "{}")
    world.chat.engine.script = [
        Delta(tool_calls=[call], finish_reason="tool_calls", usage=USAGE, raw="look()")
    ]
    assert "tool_calls" in await same(world, CHAT, {**BODIES[CHAT], "tools": [TOOL]})


async def test_json_that_does_not_match_is_the_same_refusal_as_over_http(world: World) -> None:
    world.chat.engine.script = answer("no JSON")
    body = {**BODIES[CHAT], "response_format": SCHEMA}
    response = await world.over_http(CHAT, body)
    error = await world.refusal(CHAT, body)
    assert (error.status, error.body()) == (response.status_code, response.content)
    assert error.code == "json_validate_failed"


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_a_large_answer_is_whole_and_leaves_turns_to_others(
    world: World, encoding: str
) -> None:
    numbers = np.random.default_rng(1).normal(size=NUMBERS_IN_PIECE).astype(np.float32)
    inputs = [str(number) for number in range(8)]
    world.embeddings.engine.answers = dict.fromkeys(inputs, numbers.tolist())
    body = {"model": BASE, "input": inputs, "encoding_format": encoding}
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    line = await world.line(EMBEDDINGS, body)
    counting.cancel()
    assert turns > len(inputs)
    assert line == (await world.over_http(EMBEDDINGS, body)).content


@pytest.mark.parametrize("url", BODIES)
async def test_an_answer_matches_groqs_schema(world: World, url: str) -> None:
    line = await world.line(url, BODIES[url])
    for schema, document in expected("POST", f"/openai{url}", 200, "application/json", line):
        assert violations(schema, document) == []


@pytest.mark.parametrize("tier", ["flex", "auto", "gold", None, 5])
@pytest.mark.parametrize("url", BODIES)
async def test_a_service_tier_is_refused(world: World, url: str, tier: object) -> None:
    error = await world.refusal(url, {**BODIES[url], "service_tier": tier})
    assert (error.status, error.type) == (400, "invalid_request_error")
    assert (error.message, error.param) == (
        "property 'service_tier' is unsupported",
        "service_tier",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream": "true"},
    ],
)
@pytest.mark.parametrize("url", STREAMING)
async def test_a_stream_is_refused(world: World, url: str, fields: dict[str, Any]) -> None:
    error = await world.refusal(url, {**BODIES[url], **fields})
    assert (error.status, error.message) == (400, "`stream` is not supported in a batch")
    assert error.param == "stream"


@pytest.mark.parametrize("options", [{}, {"include_usage": True}, {"include_obfuscation": False}])
@pytest.mark.parametrize("url", STREAMING)
async def test_options_of_streams_are_refused(world: World, url: str, options: object) -> None:
    error = await world.refusal(url, {**BODIES[url], "stream_options": options})
    assert (error.message, error.param) == (
        "`stream_options` is not supported in a batch",
        "stream_options",
    )


@pytest.mark.parametrize("url", [EMBEDDINGS, RERANKING])
async def test_a_stream_of_what_never_streams_is_an_unknown_property(
    world: World, url: str
) -> None:
    error = await world.refusal(url, {**BODIES[url], "stream": True})
    assert error.message == "property 'stream' is unsupported"


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        (CHAT, {"messages": []}),
        (CHAT, {"temprature": 1}),
        (CHAT, {"temperature": "1"}),
        (CHAT, {"model": "nope"}),
        (CHAT, {"n": 2}),
        (COMPLETIONS, {"prompt": 5}),
        (COMPLETIONS, {"best_of": 3}),
        (EMBEDDINGS, {"input": []}),
        (EMBEDDINGS, {"model": ""}),
        (RESPONSES, {"previous_response_id": "resp_1"}),
        (RESPONSES, {"store": True}),
        (RERANKING, {"docs": ["a"] * 101}),
    ],
)
async def test_a_wrong_body_is_refused_in_the_words_of_http(
    world: World, url: str, fields: dict[str, Any]
) -> None:
    body = {**BODIES[url], **fields}
    response = await world.over_http(url, body)
    error = await world.refusal(url, body)
    assert 400 <= error.status < 500
    assert (error.status, error.body()) == (response.status_code, response.content)


@pytest.mark.parametrize("url", [CHAT, COMPLETIONS, RESPONSES])
@pytest.mark.parametrize("failure", [EngineDead("pid 7"), PromptTooLong()])
async def test_what_an_engine_raises_is_said_as_over_http(
    world: World, url: str, failure: Exception
) -> None:
    for rig in (world.chat, world.completions, world.responses):
        rig.engine.refusal = failure
    response = await world.over_http(url, BODIES[url])
    error = await world.refusal(url, BODIES[url])
    assert (error.status, error.body()) == (response.status_code, response.content)
    assert error.headers.items() <= dict(response.headers).items()


async def test_an_input_that_a_model_cannot_take_is_named(world: World) -> None:
    world.embeddings.engine.refusal = InputRefused(1, "too_long")
    error = await world.refusal(EMBEDDINGS, BODIES[EMBEDDINGS])
    assert (error.status, error.param) == (400, "input.1")


async def test_a_store_that_does_not_answer_is_told_without_its_name(world: World) -> None:
    world.chat.adapters.error = StoreUnavailable("bucket")
    error = await world.refusal(CHAT, {**BODIES[CHAT], "model": ADAPTER_MODEL})
    assert error.status == 503
    assert "bucket" not in error.message


class LostDatabase:
    """A resolver whose database is gone, or that has a mistake."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def resolve(self, org_id: str, model: str) -> Any:
        raise self._error


def lose_database(world: World, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    for rig in world.rigs.values():
        monkeypatch.setattr(rig.resolver, "resolve", LostDatabase(error).resolve)


@pytest.mark.parametrize("url", BODIES)
async def test_a_lost_database_is_a_503_that_tells_nothing(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = OperationalError("postgresql://user:hunter2@db", None, RuntimeError("hunter2"))
    lose_database(world, lost, monkeypatch)
    error = await world.refusal(url, BODIES[url])
    assert (error.status, error.headers["retry-after"]) == (503, "5")
    assert "hunter2" not in error.message
    assert error.__cause__ is lost


async def test_a_mistake_of_ours_is_left_to_the_caller(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_database(world, ZeroDivisionError(), monkeypatch)
    with pytest.raises(ZeroDivisionError):
        await world.line(CHAT, BODIES[CHAT])


async def test_an_error_that_is_already_said_keeps_its_cause(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = internal_error()
    lose_database(world, error, monkeypatch)
    assert await world.refusal(CHAT, BODIES[CHAT]) is error
    assert error.__cause__ is None


async def test_cancelling_a_line_aborts_it_in_the_engine(world: World) -> None:
    never = asyncio.Event()
    world.chat.engine.script = [Delta("a"), never]
    line = asyncio.create_task(world.line(CHAT, BODIES[CHAT]))
    await world.chat.engine.waiting.wait()
    line.cancel()
    with pytest.raises(asyncio.CancelledError):
        await line
    assert world.chat.engine.running == 0


async def test_checking_a_large_body_takes_no_time_of_others(world: World) -> None:
    prompts = [[7] * 2_048 for _ in range(100)]
    body = {"model": BASE, "input": [*prompts, ["wrong"]]}
    # The thread of the pool is there before the time is measured.
    await asyncio.to_thread(int)
    with cpu_time() as in_loop, pytest.raises(ApiError):
        await world.endpoints[EMBEDDINGS](world.embeddings.context, body, length=1 << 20)
    assert in_loop.seconds < 0.02


async def status(world: World, url: str, body: dict[str, Any]) -> int:
    try:
        json.loads(await world.line(url, body))
    except ApiError as error:
        return error.status
    return 200


FIELDS = st.sampled_from(sorted({name for body in BODIES.values() for name in body}))


@given(
    body=st.dictionaries(FIELDS | st.text(max_size=5), JSON, max_size=4), url=st.sampled_from(URLS)
)
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_no_body_raises_anything_but_an_api_error(
    world: World, body: dict[str, Any], url: str
) -> None:
    world.audio.fetcher.contents = defaultdict(lambda: b"1")
    for asked in (body, {**BODIES[url], **body}):
        assert await status(world, url, asked) in range(200, 500)
    assert world.audio.left() == []


async def test_a_line_that_came_to_the_wrong_pool_is_told_that_there_is_no_such_model(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def elsewhere(org_id: str, model: str) -> ResolvedModel:
        raise ServedElsewhere(Pool("http://elsewhere", (model,)), model)

    monkeypatch.setattr(world.chat.resolver, "resolve", elsewhere)
    refusal = await world.refusal(CHAT, BODIES[CHAT])
    assert (refusal.status, refusal.code) == (404, "model_not_found")
