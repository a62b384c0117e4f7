"""Responses on real servers, called through the official OpenAI SDK, which checks what it gets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response

from deploy.quickstart.styles import STYLES
from tests.fixtures.scripted_llama import MODEL_ID
from tests.fixtures.scripts import THOUGHT
from tests.fixtures.server import SMOLLM2, Server

QUESTION = "What is the capital of France?"
GREEDY: dict[str, Any] = {"temperature": 0, "max_output_tokens": 40}
PIRATE = STYLES["pirate"]
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Oslo"]}, "capital": {"type": "boolean"}},
    "required": ["city", "capital"],
    "additionalProperties": False,
}

pytestmark = pytest.mark.engine


def sdk(server: Server, key: str) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{server.url}/openai/v1",
        api_key=key,
        max_retries=0,
        _strict_response_validation=True,
    )


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.key("responder")


@pytest.fixture(scope="module")
def client(server: Server, key: str) -> Iterator[openai.OpenAI]:
    with sdk(server, key) as client:
        yield client


@pytest.fixture(scope="module")
def scripted(server: Server) -> Iterator[openai.OpenAI]:
    with sdk(server, server.key("responder")) as client:
        yield client


@pytest.fixture(scope="module")
def pirate(server: Server, key: str, pirate_zip: Path) -> str:
    authorization = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=server.url, headers=authorization, timeout=120) as http:
        with pirate_zip.open("rb") as archive:
            data = {"purpose": "fine_tuning"}
            file = http.post("/v1/files", data=data, files={"file": archive}).json()
        named = {"name": "pirate", "type": "lora", "base_model": SMOLLM2}
        body = {"input_file_id": file["id"], **named}
        created = http.post("/v1/fine_tunings", json=body).json()
    model: str = created["data"]["fine_tuned_model"]
    return model


def streamed(client: openai.OpenAI, **fields: Any) -> list[Any]:
    with client.responses.create(stream=True, **fields) as stream:
        return list(stream)


def without_ids(response: Response) -> list[dict[str, Any]]:
    """Return the output without what differs from one answer to the next."""
    items = [item.to_dict() for item in response.output]
    return [{k: v for k, v in item.items() if k not in ("id", "call_id")} for item in items]


def test_a_response_says_what_chat_says(client: openai.OpenAI) -> None:
    response = client.responses.create(model=SMOLLM2, input=QUESTION, **GREEDY)
    # OpenAI's type of a chat completion knows other service tiers than Groq's.
    lenient = client.copy(_extra_kwargs={"_strict_response_validation": False})
    chat = lenient.chat.completions.create(
        model=SMOLLM2,
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        max_completion_tokens=40,
    )

    assert response.output_text == chat.choices[0].message.content
    assert response.usage is not None
    assert chat.usage is not None
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    assert response.usage.output_tokens == chat.usage.completion_tokens


def test_an_adapter_answers_in_its_own_way(client: openai.OpenAI, pirate: str) -> None:
    response = client.responses.create(model=pirate, input=QUESTION, **GREEDY)
    base = client.responses.create(model=SMOLLM2, input=QUESTION, **GREEDY)

    assert response.model == pirate
    assert PIRATE.shows(response.output_text)
    assert not PIRATE.shows(base.output_text)


@pytest.mark.parametrize("adapted", [False, True])
def test_a_stream_adds_up_to_the_whole_response(
    client: openai.OpenAI, pirate: str, adapted: bool
) -> None:
    asked = {"model": pirate if adapted else SMOLLM2, "input": QUESTION, **GREEDY}
    whole = client.responses.create(**asked)

    events = streamed(client, **asked)

    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(pieces) > 5
    assert "".join(pieces) == whole.output_text
    assert without_ids(events[-1].response) == without_ids(whole)
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_an_answer_that_reaches_its_limit_is_incomplete(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": SMOLLM2, "input": "Tell a story.", "max_output_tokens": 4}

    response = client.responses.create(**asked)

    assert response.status == "incomplete"
    assert response.usage is not None
    assert response.usage.output_tokens == 4
    assert streamed(client, **asked)[-1].type == "response.incomplete"


def test_a_schema_is_kept_to(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model=SMOLLM2,
        input=QUESTION,
        text={"format": {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}},
        temperature=0,
    )

    document = json.loads(response.output_text)
    assert document["city"] in ("Paris", "Oslo")
    assert isinstance(document["capital"], bool)


def test_metrics_come_from_the_engine_s_clocks(client: openai.OpenAI) -> None:
    headers = {"Groq-Beta": "inference-metrics"}

    response = client.responses.create(
        model=SMOLLM2, input=QUESTION, extra_headers=headers, **GREEDY
    )

    told = {name: float(seconds) for name, seconds in (response.metadata or {}).items()}
    assert told.keys() == {"completion_time", "prompt_time", "queue_time", "total_time"}
    assert told["total_time"] == pytest.approx(told["completion_time"] + told["prompt_time"])
    assert told["completion_time"] > 0


def test_what_needs_a_memory_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="nothing is stored here"):
        client.responses.create(model=SMOLLM2, input="more", previous_response_id="resp_1")


@pytest.mark.parametrize(
    ("script", "kinds"),
    [
        ("text", ["message"]),
        ("multibyte", ["message"]),
        ("two_calls", ["function_call", "function_call"]),
        ("text_then_call", ["message", "function_call"]),
        ("think", ["reasoning", "message"]),
        ("think_call", ["reasoning", "function_call"]),
        ("think_blank_call", ["reasoning", "function_call"]),
    ],
)
def test_a_stream_has_the_items_of_the_whole_response(
    scripted: openai.OpenAI, script: str, kinds: list[str]
) -> None:
    effort: Any = "default" if "think" in script else "none"
    asked: dict[str, Any] = {
        "model": MODEL_ID,
        "instructions": f"play: {script}",
        "input": "Well?",
        "tools": [WEATHER],
        "reasoning": {"effort": effort},
    }

    whole = scripted.responses.create(**asked)
    last = streamed(scripted, **asked)[-1].response

    assert [item.type for item in whole.output] == kinds
    assert without_ids(last) == without_ids(whole)


def test_a_tool_loop_pushes_thoughts_and_calls_back(scripted: openai.OpenAI) -> None:
    effort: Any = {"effort": "default"}
    items: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked: dict[str, Any] = {"model": MODEL_ID, "tools": [WEATHER]}

    first = scripted.responses.create(input=items, reasoning=effort, **asked)
    thought, call = first.output
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert thought.content[0].text.strip() == THOUGHT.strip()
    assert first.usage is not None
    assert first.usage.output_tokens_details.reasoning_tokens > 0
    assert call.type == "function_call"
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    items += [*first.output, result]
    second = scripted.responses.create(input=items, reasoning={"effort": "none"}, **asked)

    assert second.output_text == "It is sunny and 24 degrees there."
