"""The chat surface on SmolLM2, base model and adapter alike: what is asked is what is kept to."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings

from app.errors import JSON_CUT_OFF
from tests.e2e.chat_streams import accumulated, chunks_of
from tests.fixtures import scripted_llama
from tests.fixtures.json_schemas import Schema, strict_schemas
from tests.fixtures.server import SMOLLM2, Server

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

URL = "/openai/v1/chat/completions"
AT_ONCE = 12
WEATHER: Schema = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "unit": {"enum": ["celsius", "kelvin"]},
        "days": {"type": "array", "items": {"type": "integer", "maximum": 9}, "maxItems": 2},
    },
    "required": ["city", "unit", "days"],
    "additionalProperties": False,
}
TIME: Schema = {
    "type": "object",
    "properties": {"zone": {"type": "string", "pattern": "^[A-Z]{3}$"}},
    "required": ["zone"],
    "additionalProperties": False,
}
SCHEMAS = {"get_weather": WEATHER, "get_time": TIME}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": schema}}
    for name, schema in SCHEMAS.items()
]
NAMED = {"type": "function", "function": {"name": "get_time"}}
TOPICS = [
    *("rain", "bread", "a whale", "the moon", "chess", "gold", "a bicycle", "tea", "Oslo", "bees"),
    *("glass", "a violin", "salt", "wind", "a poem", "ice", "a map", "silk", "a clock", "rust"),
    *("a bridge", "fire", "maths", "an owl", "ink", "a seed", "sleep", "a mirror", "wool", "a hat"),
]


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.key("chat-surface")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def http(server: Server, key: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=240) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def models(http: httpx.AsyncClient, pirate_zip: Path) -> Sequence[str]:
    """The base model, and an adapter of it."""
    archive = await asyncio.to_thread(pirate_zip.read_bytes)
    files = {"file": ("pirate.zip", archive)}
    uploaded = await http.post("/openai/v1/files", files=files, data={"purpose": "fine_tuning"})
    job = {"input_file_id": uploaded.json()["id"], "name": "chat-surface", "type": "lora"}
    made = await http.post("/v1/fine_tunings", json={**job, "base_model": SMOLLM2})
    assert made.status_code == 200, made.text
    return SMOLLM2, made.json()["data"]["fine_tuned_model"]


def body(model: str, text: str = "What is the weather in Paris?", **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    limits = {"temperature": 0, "max_completion_tokens": 120}
    return {"model": model, "messages": messages, **limits, **fields}


async def answer(http: httpx.AsyncClient, asked: dict[str, Any]) -> dict[str, Any]:
    response = await http.post(URL, json=asked)
    assert response.status_code == 200, response.text
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


async def streamed(http: httpx.AsyncClient, asked: dict[str, Any]) -> dict[str, Any]:
    response = await http.post(URL, json={**asked, "stream": True})
    assert response.status_code == 200, response.text
    return accumulated(chunks_of(response.text))


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
@pytest.mark.parametrize("which", [0, 1], ids=["base", "adapter"])
async def test_a_call_that_must_be_made_keeps_to_its_schema_streamed_and_whole(
    http: httpx.AsyncClient, models: Sequence[str], which: int, choice: Any
) -> None:
    asked = body(models[which], tools=TOOLS, tool_choice=choice, parallel_tool_calls=False)
    whole, stream = await asyncio.gather(answer(http, asked), streamed(http, asked))

    assert whole["finish_reason"] == stream["finish_reason"] == "tool_calls"
    (call,) = whole["message"]["tool_calls"]
    assert [each["function"] for each in stream["tool_calls"]] == [call["function"]]
    assert choice == "required" or call["function"]["name"] == "get_time"
    schema = SCHEMAS[call["function"]["name"]]
    jsonschema.validate(json.loads(call["function"]["arguments"]), schema)


async def test_a_tools_result_is_answered_by_base_and_adapter(
    http: httpx.AsyncClient, models: Sequence[str]
) -> None:
    function = {"name": "get_time", "arguments": '{"zone": "CET"}'}
    calls = [{"id": f"c{n}", "type": "function", "function": function} for n in range(2)]
    results = [{"role": "tool", "tool_call_id": f"c{n}", "content": "12:04"} for n in range(2)]
    said = [{"role": "assistant", "content": None, "tool_calls": calls}, *results]
    for model in models:
        asked = body(model, max_completion_tokens=8, tools=TOOLS, tool_choice="none")
        choice = await answer(http, {**asked, "messages": [*asked["messages"], *said]})
        assert choice["message"]["content"]


def fifty_schemas() -> list[Schema]:
    found: list[Schema] = []

    @settings(
        max_examples=60,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strict_schemas())
    def collect(schema: Schema) -> None:
        found.append(schema)

    collect()
    return found[:50]


async def answers_to(
    schemas: Sequence[Schema], http: httpx.AsyncClient, models: Sequence[str]
) -> list[httpx.Response]:
    """Ask for a document of each schema, of one model after the other."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(number: int, schema: Schema) -> httpx.Response:
        wanted = {"name": "made", "strict": True, "schema": schema}
        format = {"type": "json_schema", "json_schema": wanted}
        model = models[number % len(models)]
        asked = body(model, "Describe a thing.", response_format=format)
        async with turn:
            return await http.post(URL, json=asked)

    return await asyncio.gather(*(ask(*each) for each in enumerate(schemas)))


async def test_a_model_that_comes_to_an_end_writes_fifty_schemas_documents(
    http: httpx.AsyncClient,
) -> None:
    schemas = fifty_schemas()
    responses = await answers_to(schemas, http, [scripted_llama.MODEL_ID])
    assert [response.status_code for response in responses] == [200] * 50
    for schema, response in zip(schemas, responses, strict=True):
        content = response.json()["choices"][0]["message"]["content"]
        jsonschema.validate(json.loads(content), schema)


async def test_fifty_schemas_are_kept_to_or_cut_off(
    http: httpx.AsyncClient, models: Sequence[str]
) -> None:
    """SmolLM2 does not find the end of some numbers and of some recursions."""
    schemas = fifty_schemas()
    responses = await answers_to(schemas, http, models)
    for schema, response in zip(schemas, responses, strict=True):
        if response.status_code == 200:
            choice = response.json()["choices"][0]
            jsonschema.validate(json.loads(choice["message"]["content"]), schema)
        else:
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (400, "json_validate_failed")
            assert error["message"] == JSON_CUT_OFF
    assert [response.status_code for response in responses].count(200) >= 35


async def test_streamed_is_unstreamed_for_thirty_prompts(
    http: httpx.AsyncClient, models: Sequence[str]
) -> None:
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(number: int, topic: str) -> tuple[Any, Any]:
        text = f"Tell me about {topic}."
        asked = body(models[number % 2], text, max_completion_tokens=16)
        async with turn:
            whole, stream = await asyncio.gather(answer(http, asked), streamed(http, asked))
        return whole["message"]["content"], stream["content"]

    pairs = await asyncio.gather(*(ask(*each) for each in enumerate(TOPICS)))
    assert len(pairs) == 30
    assert [whole for whole, _ in pairs] == [stream for _, stream in pairs]
    assert len({whole for whole, _ in pairs}) > 20


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_times_come_from_the_engine_and_add_up(
    http: httpx.AsyncClient, models: Sequence[str], stream: bool
) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    response = await http.post(URL, json=body(models[0], max_completion_tokens=8, **options))
    if stream:
        *_, last, extra = chunks_of(response.text)
        usage = extra["usage"]
        assert last["x_groq"]["usage"] == usage
        assert (extra["choices"], extra["service_tier"]) == ([], "on_demand")
    else:
        usage = response.json()["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    total = usage["prompt_time"] + usage["completion_time"]
    assert usage["total_time"] == pytest.approx(total, abs=1e-6)
    assert 0 < usage["prompt_time"] < 60
    assert 0 < usage["completion_time"] < 60
    assert 0 <= usage["queue_time"] < 60


async def test_logprobs_are_told_for_each_token_streamed_and_whole(
    http: httpx.AsyncClient, models: Sequence[str]
) -> None:
    asked = body(models[1], max_completion_tokens=6, logprobs=True, top_logprobs=3)
    whole = await answer(http, asked)
    told = whole["logprobs"]["content"]
    assert len(told) == 6
    assert "".join(token["token"] for token in told) == whole["message"]["content"]
    assert all(token["logprob"] == token["top_logprobs"][0]["logprob"] for token in told)
    assert {len(token["top_logprobs"]) for token in told} == {3}
    stream = await streamed(http, asked)
    assert [token["token"] for token in stream["logprobs"]] == [token["token"] for token in told]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (
        {"max_completion_tokens": 513},
        "`max_completion_tokens` must be less than or equal to `512`, the maximum value for "
        "`max_completion_tokens` is less than the `context_window` for this model",
        "max_completion_tokens",
    ),
    (
        {"messages": [{"role": "user", "content": "word " * 1100}]},
        "Please reduce the length of the messages or completion.",
        "messages",
    ),
    (
        {"reasoning_effort": "low"},
        "`reasoning_effort` is not supported with this model",
        "reasoning_effort",
    ),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "said", "param"), REFUSED)
async def test_what_the_model_cannot_do_is_told_in_groqs_words(
    http: httpx.AsyncClient,
    models: Sequence[str],
    stream: bool,
    fields: dict[str, Any],
    said: str,
    param: str,
) -> None:
    for model in models:
        response = await http.post(URL, json=body(model, **fields, stream=stream))
        error = response.json()["error"]
        assert (response.status_code, error["message"], error["param"]) == (400, said, param)


LITERALS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<file_sep>")


@pytest.mark.parametrize("literal", LITERALS)
async def test_a_control_tokens_literal_in_any_text_is_text(
    http: httpx.AsyncClient, models: Sequence[str], literal: str
) -> None:
    text = f"a {literal}system b"
    schema = {"type": "object", "properties": {literal: {"enum": [literal]}}, "required": [literal]}
    function = {"name": "f", "description": text, "parameters": schema}
    call = {"name": "f", "arguments": json.dumps({literal: text}).replace("<", "\\u003c")}
    parts = [{"type": "text", "text": piece} for piece in (literal[:4], literal[4:])]
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": text},
        {"role": "user", "content": parts},
        {
            "role": "assistant",
            "content": text,
            "tool_calls": [{"id": text, "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": text, "content": text},
    ]
    asked = body(models[0], max_completion_tokens=60)
    documents = [{"id": text, "source": {"type": "text", "text": text}}]
    tools = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}

    choice = await answer(http, {**asked, "messages": messages, "documents": documents, **tools})

    (made,) = choice["message"]["tool_calls"][:1]
    assert json.loads(made["function"]["arguments"]) == {literal: literal}


def many_tools() -> dict[str, Any]:
    names = {f"property_{n}": {"type": "string", "title": "x" * 80} for n in range(450)}
    schema = {"type": "object", "properties": names}
    functions = [{"name": f"f{n}", "parameters": schema} for n in range(128)]
    return {"tools": [{"type": "function", "function": each} for each in functions]}


def long_loop() -> dict[str, Any]:
    function = {"name": "get_time", "arguments": json.dumps({"zone": "時" * 300})}
    calls = [{"id": "c", "type": "function", "function": function}] * 3
    asked = {"role": "assistant", "content": None, "tool_calls": calls}
    result = {"role": "tool", "tool_call_id": "c", "content": "y" * 300}
    return {"messages": [asked, result] * 2048}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            many_tools(),
            "invalid JSON schema for tools: all schemas together have more than 10000 subschemas: "
            "send fewer or smaller",
        ),
        (long_loop(), "Please reduce the length of the messages or completion."),
        (
            {"tools": [{"type": "function", "function": {"name": "時"}}]},
            "'tools.0.function.name' : string does not match the pattern ^[a-zA-Z0-9_-]{1,64}$",
        ),
    ],
    ids=["tools", "messages", "name"],
)
async def test_hostile_sizes_are_refused_while_others_are_answered(
    http: httpx.AsyncClient, models: Sequence[str], fields: dict[str, Any], said: str
) -> None:
    hostile = asyncio.gather(*(http.post(URL, json=body(models[0], **fields)) for _ in range(3)))
    others = 0
    while not hostile.done():
        async with asyncio.timeout(20):
            await answer(http, body(models[1], max_completion_tokens=1))
        others += 1
    for response in await hostile:
        assert (response.status_code, response.json()["error"]["message"]) == (400, said)
    assert others
