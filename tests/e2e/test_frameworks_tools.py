"""Client frameworks with tools, structured answers and async streams, on scripted answers."""

from typing import Any

import pytest

from tests.e2e.test_frameworks import seen_by
from tests.fixtures.scripted_llama import MODEL_ID
from tests.fixtures.scripts import spoken
from tests.fixtures.server import Server

pytestmark = pytest.mark.engine

SUNNY = "sunny in Paris"
LIMA = {"city": "Lima", "temperature": 21, "dry": True}


def has_types_of_a_report(seen: Any) -> bool:
    return [type(seen[name]) for name in ("city", "temperature", "dry")] == [str, int, bool]


def test_usage_is_counted_once_in_a_stream(server: Server) -> None:
    langchain = seen_by("langchain_chat", server, MODEL_ID)
    agent = seen_by("pydantic_ai_chat", server, MODEL_ID)

    for answers in (langchain["openai"], langchain["groq"]):
        assert answers["streamed"]["usage"] == answers["whole"]["usage"]
    assert agent["streamed"]["usage"] == agent["whole"]["usage"]


@pytest.fixture(scope="module")
def langchain(server: Server) -> Any:
    return seen_by("langchain_tools", server, MODEL_ID)


@pytest.mark.parametrize("integration", ["openai", "groq"])
def test_a_langchain_tool_loop_ends_with_an_answer(langchain: Any, integration: str) -> None:
    loop = langchain[integration]["loop"]

    assert loop == {"results": [SUNNY], "text": spoken("after_tool")}


@pytest.mark.parametrize("integration", ["openai", "groq"])
def test_langchain_gets_structured_output_by_schema_and_by_a_forced_call(
    langchain: Any, integration: str
) -> None:
    assert langchain[integration]["json_schema"] == LIMA
    assert has_types_of_a_report(langchain[integration]["function_calling"])


@pytest.mark.parametrize("integration", ["openai", "groq"])
def test_langchain_joins_a_streamed_call(langchain: Any, integration: str) -> None:
    assert langchain[integration]["streamed"]["calls"] == [["get_weather", {"city": "Paris"}]]


def test_llama_index_runs_tools_and_gets_structured_output(server: Server) -> None:
    seen = seen_by("llama_index_tools", server, MODEL_ID)

    assert seen["loop"] == {"results": [SUNNY], "text": spoken("after_tool")}
    assert isinstance(seen["structured"]["city"], str)
    assert seen["streamed"] == spoken("text")


def test_instructor_gets_its_response_model_in_every_mode(server: Server) -> None:
    seen = seen_by("instructor_models", server, MODEL_ID)

    for client in ("openai", "groq"):
        assert has_types_of_a_report(seen[client]["tool_call"])
        assert seen[client]["json_mode"] == LIMA
    assert seen["openai"]["json_schema_mode"] == seen["asynchronous"] == LIMA


def test_pydantic_ai_runs_tools_and_gets_typed_output(server: Server) -> None:
    seen = seen_by("pydantic_ai_tools", server, MODEL_ID)

    text = spoken("after_tool")
    assert seen["loop"] == {"asked": ["Paris", "Paris"], "text": text, "streamed": text}
    assert has_types_of_a_report(seen["by_tool"])
    assert seen["by_schema"] == LIMA
