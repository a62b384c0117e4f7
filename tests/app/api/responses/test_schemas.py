"""The closed request: what is taken, and the words in which the rest is refused."""

from typing import Any

import pytest

from app.api.responses.schemas import NOT_STORED, NOT_SUPPORTED
from app.errors import ApiError
from tests.app.api.responses.bodies import WEATHER, request


def problem(**fields: Any) -> str:
    with pytest.raises(ApiError) as caught:
        request(**fields)
    assert caught.value.status == 400
    return caught.value.message


NO_OPS: list[dict[str, Any]] = [
    {"store": False},
    {"truncation": "disabled"},
    {"background": False},
    {"include": []},
    {"top_logprobs": 0},
    {"stream_options": {"include_obfuscation": False}},
    {"text": {"verbosity": "medium"}},
    {"reasoning": {"summary": None}},
    {"previous_response_id": None},
    {"tools": [], "tool_choice": "auto"},
    {"tool_choice": "none"},
]


@pytest.mark.parametrize("fields", NO_OPS)
def test_values_that_ask_for_nothing_are_taken(fields: dict[str, Any]) -> None:
    assert request(**fields).items == []


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("store", True, "can only be false: nothing is stored here"),
        ("background", True, "can only be false: nothing is stored here"),
        ("truncation", "auto", "can only be `disabled`: what is too long is refused, not cut"),
        ("previous_response_id", "resp_1", NOT_STORED),
        ("conversation", {"id": "conv_1"}, NOT_STORED),
        (
            "prompt",
            {"id": "pmpt_1"},
            "is not supported: no prompts are stored here, use `instructions`",
        ),
        ("include", ["reasoning.encrypted_content"], NOT_SUPPORTED),
        ("top_logprobs", 3, NOT_SUPPORTED),
        ("stream_options", {"include_obfuscation": True}, NOT_SUPPORTED),
        ("max_tool_calls", 3, NOT_SUPPORTED),
        ("safety_identifier", "u", NOT_SUPPORTED),
        ("prompt_cache_key", "k", NOT_SUPPORTED),
        ("prompt_cache_retention", "24h", NOT_SUPPORTED),
    ],
)
def test_what_a_server_without_memory_cannot_do_is_said(field: str, value: Any, why: str) -> None:
    assert problem(**{field: value}) == f"`{field}` {why}"


def test_an_unknown_field_is_refused_by_name() -> None:
    assert problem(inputs="hi") == "property 'inputs' is unsupported, did you mean 'input'?"
    assert problem(messages=[]) == "property 'messages' is unsupported"


@pytest.mark.parametrize(
    "kind",
    ["web_search", "web_search_preview", "file_search", "code_interpreter", "mcp", "custom"],
)
def test_a_built_in_tool_is_refused_by_name(kind: str) -> None:
    message = f"tools of type `{kind}` are not served here: use `function`"
    assert problem(tools=[{"type": kind}]) == message
    assert problem(tools=[WEATHER], tool_choice={"type": kind}) == message


def test_a_tool_in_the_shape_of_chat_completions_is_refused() -> None:
    assert "'tools.0.name'" in problem(tools=[{"type": "function", "function": {"name": "f"}}])


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "get_weather"},
        {"type": "function", "function": {"name": "get_weather"}},
    ],
)
def test_one_tool_can_be_chosen_in_groqs_shape_and_in_openais(choice: dict[str, Any]) -> None:
    chosen = request(tools=[WEATHER], tool_choice=choice).tool_choice
    assert chosen is not None
    assert not isinstance(chosen, str)
    assert chosen.chosen == "get_weather"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tool_choice": "required"}, "`tool_choice` needs `tools` to choose from"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "other"}},
            "`tool_choice` names a tool that is not in `tools`",
        ),
        ({"tools": [WEATHER, WEATHER]}, "two tools have the same name"),
        (
            {"tools": [{**WEATHER, "name": f"f{n}"} for n in range(129)]},
            "'tools' : maximum number of items is 128",
        ),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function"}},
            "'tool_choice' : property 'name' is missing",
        ),
    ],
)
def test_tools_and_choice_agree(fields: dict[str, Any], message: str) -> None:
    assert problem(**fields) == message


def test_metadata_may_have_sixteen_pairs() -> None:
    pairs = {f"{n:064}": "v" * 512 for n in range(16)}
    assert request(metadata=pairs).metadata == pairs


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({str(n): "" for n in range(17)}, "maximum number of items is 16"),
        ({"k" * 65: "v"}, "maximum string length is 64"),
        ({"k": "v" * 513}, "maximum string length is 512"),
        ({"k": 1}, "value must be a string"),
    ],
)
def test_metadata_beyond_its_limits_is_refused(metadata: Any, message: str) -> None:
    told = problem(metadata=metadata)
    assert told.startswith("'metadata")
    assert message in told


@pytest.mark.parametrize(
    ("asked", "tier"),
    [(None, "on_demand"), ("default", "on_demand"), ("auto", "auto"), ("flex", "flex")],
)
def test_service_tiers_are_named_as_in_openais_api(asked: Any, tier: str) -> None:
    assert request(service_tier=asked).tier == tier


@pytest.mark.parametrize("tier", ["on_demand", "performance", "priority"])
def test_other_service_tiers_are_refused(tier: str) -> None:
    assert "'auto', 'default' or 'flex'" in problem(service_tier=tier)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"input": 7}, "input"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ],
)
def test_what_is_out_of_range_is_named(fields: dict[str, Any], place: str) -> None:
    assert problem(**fields).startswith(f"'{place}' : ")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": {"verbosity": "low"}}, "`verbosity` of `text` is not supported"),
        ({"reasoning": {"summary": "auto"}}, "`summary` of `reasoning` is not supported"),
    ],
)
def test_what_only_openai_s_models_do_is_refused(fields: dict[str, Any], message: str) -> None:
    assert problem(**fields) == message


def test_a_schema_comes_flat_and_goes_out_as_in_chat_completions() -> None:
    schema = {"type": "object", "properties": {"a": {"const": None}}}
    flat = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    config = request(text={"format": flat}).text_config
    assert config.wanted() == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": schema, "strict": True},
    }
    assert config.echo() == {"format": flat}
