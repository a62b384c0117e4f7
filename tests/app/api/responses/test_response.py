"""A response in the shape of Groq's specification and of OpenAI's types."""

from dataclasses import replace
from typing import Any

import openai.types.responses
import pytest
from openai._models import validate_type

from app.api.responses.output import OutputMessage
from app.api.responses.response import Response
from app.inference.tiers import Tier
from tests.app.api.responses.bodies import WEATHER, request
from tests.app.inference.stubs import USAGE


def begun(**fields: Any) -> Response:
    return Response.begun(request(**fields), id="resp_1", created=7, model="tiny-base")


def told(response: Response) -> dict[str, Any]:
    return response.model_dump(mode="json")


def test_a_response_repeats_what_holds_where_nothing_was_asked_for() -> None:
    assert told(begun()) == {
        "id": "resp_1",
        "object": "response",
        "status": "in_progress",
        "created_at": 7,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "model": "tiny-base",
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": {},
    }


def test_a_response_repeats_what_was_asked_for() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    asked: dict[str, Any] = {
        "instructions": "Be brief.",
        "max_output_tokens": 5,
        "parallel_tool_calls": False,
        "temperature": 0.0,
        "top_p": 0.5,
        "user": "u",
        "metadata": {"k": "v"},
        "text": {"format": schema},
        "truncation": "disabled",
    }
    repeated = told(begun(reasoning={"effort": "low"}, **asked))
    assert {**repeated, **asked} == repeated
    assert repeated["reasoning"]["effort"] == "low"


@pytest.mark.parametrize("effort", ["none", "default", "minimal", "xhigh"])
def test_an_effort_that_groqs_schema_does_not_know_is_not_repeated(effort: str) -> None:
    assert begun(reasoning={"effort": effort}).reasoning.effort is None


def test_a_chosen_tool_is_repeated_for_both_readers() -> None:
    named = {"type": "function", "name": "get_weather"}
    repeated = told(begun(tools=[WEATHER], tool_choice=named))
    assert repeated["tools"] == [{**WEATHER, "strict": False}]
    assert repeated["tool_choice"] == {**named, "function": {"name": "get_weather"}}


def test_usage_tells_cached_tokens_and_thoughts() -> None:
    usage = replace(USAGE, cached_tokens=4, reasoning_tokens=2)
    assert told(begun().ended([], usage, is_cut=False))["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 2, "cached_tokens": 0},
        "total_tokens": 10,
    }


def test_metrics_are_texts_beside_the_caller_s_metadata() -> None:
    assert begun(metadata={"k": "v"}).with_metrics(USAGE).metadata == {
        "k": "v",
        "completion_time": "0.500000000",
        "prompt_time": "0.250000000",
        "queue_time": "0.125000000",
        "total_time": "0.750000000",
    }


@pytest.mark.parametrize(
    ("tier", "word"), [("on_demand", "default"), ("flex", "flex"), ("performance", "auto")]
)
def test_the_tier_is_told_in_the_words_of_the_schema(tier: Tier, word: str) -> None:
    assert begun().at(tier).service_tier == word


def test_every_state_is_of_the_type_that_openais_sdk_declares() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    named = {"type": "function", "name": "get_weather"}
    start = begun(tools=[WEATHER], tool_choice=named, text={"format": schema})
    items = [OutputMessage.begun().ended("a", "completed")]
    ends = [start.ended(items, USAGE, is_cut=is_cut) for is_cut in (False, True)]
    for response in (start, *ends, start.failed(items, "gone"), start.with_metrics(USAGE)):
        validate_type(type_=openai.types.responses.Response, value=told(response))
