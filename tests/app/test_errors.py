"""The error envelope, and what each domain error is to a client."""

import json
from typing import get_args

import pytest

from adapters_registry.errors import (
    AdapterCapacityExceeded,
    AdapterLoadFailed,
    InvalidAdapter,
    ObjectCorrupt,
    ObjectNotFound,
    RegistryError,
    StoreUnavailable,
)
from app.engine.base import (
    EngineDead,
    EngineError,
    EngineOverloaded,
    EngineStartError,
    PromptRefused,
    PromptTooLong,
)
from app.engine.pooling import InputFault, InputRefused
from app.errors import (
    ECHO_CHARACTERS,
    ApiError,
    body_too_large,
    from_domain,
    invalid_api_key,
    invalid_request,
    json_validate_failed,
    model_not_found,
    not_found,
    overloaded,
    shortened,
    tool_use_failed,
    unknown_url,
    wrong_task,
)

SECRET = "/srv/store/9f8e7d"


def test_absent_fields_are_left_out_of_the_envelope() -> None:
    assert invalid_api_key().envelope() == {
        "error": {
            "message": "Invalid API Key",
            "type": "invalid_request_error",
            "code": "invalid_api_key",
        }
    }


def test_extra_fields_stand_in_the_envelope_beside_the_others() -> None:
    error = ApiError(400, "No.", extra={"schema_path": "/a", "schema_kind": None})
    assert error.envelope()["error"] == {
        "message": "No.",
        "type": "invalid_request_error",
        "schema_path": "/a",
    }


def test_a_failed_generation_is_sent_along_even_when_it_is_empty() -> None:
    assert json_validate_failed("").envelope()["error"] == {
        "message": "Failed to generate JSON. Please adjust your prompt. "
        "See 'failed_generation' for more details.",
        "type": "invalid_request_error",
        "code": "json_validate_failed",
        "failed_generation": "",
    }


def test_a_call_that_failed_says_so_in_groqs_words() -> None:
    error = tool_use_failed("<function=a>")
    assert error.message.startswith("Failed to call a function. Please adjust your prompt.")
    assert (error.status, error.code) == (400, "tool_use_failed")
    assert error.extra == {"failed_generation": "<function=a>"}


def test_the_body_is_ascii_whatever_text_it_repeats() -> None:
    body = invalid_request("\ud800 é\n").body()
    assert body.isascii()
    assert json.loads(body)["error"]["message"] == "\ud800 é\n"


def test_text_of_the_caller_is_repeated_only_in_part() -> None:
    assert shortened("a" * ECHO_CHARACTERS) == "a" * ECHO_CHARACTERS
    assert len(shortened("a" * 10_000)) == ECHO_CHARACTERS


@pytest.mark.parametrize(
    "error",
    [model_not_found("m" * 9_999), not_found("file", "f" * 9_999), unknown_url("GET", "/x" * 999)],
)
def test_a_404_repeats_a_bounded_part_of_what_was_asked_for(error: ApiError) -> None:
    assert error.status == 404
    assert len(error.message) < 400


def test_an_overload_tells_when_to_come_back() -> None:
    assert overloaded("busy", retry_after_seconds=3).headers == {"retry-after": "3"}


def test_a_body_that_is_too_large_is_not_worth_a_retry() -> None:
    error = body_too_large(5)
    assert (error.status, error.headers) == (413, {"x-should-retry": "false"})


def every_kind(base: type[Exception]) -> set[type[Exception]]:
    return {base}.union(*(every_kind(kind) for kind in base.__subclasses__()))


DOMAIN = [
    (ObjectNotFound(SECRET), 404, "model_not_found"),
    (AdapterCapacityExceeded(SECRET), 503, None),
    (EngineOverloaded(SECRET), 503, None),
    (EngineDead(SECRET), 503, None),
    (StoreUnavailable(SECRET), 503, None),
    (AdapterLoadFailed(SECRET), 503, None),
    (ObjectCorrupt(SECRET), 503, None),
    (PromptTooLong(SECRET), 400, "context_length_exceeded"),
    (EngineStartError(SECRET), 500, None),
    (EngineError(SECRET), 500, None),
    (RegistryError(SECRET), 500, None),
]


@pytest.mark.parametrize(("error", "status", "code"), DOMAIN)
@pytest.mark.parametrize("model", ["tiny", None])
def test_a_domain_error_has_its_status_and_gives_nothing_internal_away(
    error: RegistryError | EngineError, status: int, code: str | None, model: str | None
) -> None:
    answer = from_domain(error, model)
    assert answer.status == status
    assert answer.code == (code if model or status != 404 else "not_found")
    assert SECRET not in answer.message


@pytest.mark.parametrize("kind", every_kind(RegistryError) | every_kind(EngineError))
def test_every_domain_error_has_an_answer(kind: type[RegistryError | EngineError]) -> None:
    own: dict[type, tuple[object, ...]] = {InvalidAdapter: ("c", "m"), InputRefused: (3, "empty")}
    error = kind(*own.get(kind, ("x",)))
    assert 400 <= from_domain(error).status <= 503


@pytest.mark.parametrize("fault", get_args(InputFault))
def test_a_refused_input_is_named_by_its_place(fault: InputFault) -> None:
    answer = from_domain(InputRefused(3, fault), field="docs")
    assert (answer.status, answer.param) == (400, "docs.3")
    assert answer.message.startswith("'docs.3' : value ")
    assert answer.code == ("context_length_exceeded" if fault == "too_long" else None)


def test_a_refusal_names_the_field_at_fault() -> None:
    assert from_domain(PromptRefused("No."), field="docs").param == "docs"
    assert from_domain(PromptRefused("No.", param="query"), field="docs").param == "query"


def test_a_model_of_another_kind_says_what_it_cannot_do() -> None:
    answer = wrong_task("tiny", "embedding")
    assert (answer.status, answer.param) == (400, "model")
    assert answer.message == "The model `tiny` does not support embeddings."


def test_over_capacity_names_the_model_in_groqs_words() -> None:
    answer = from_domain(AdapterCapacityExceeded(), "tiny")
    assert answer.message == (
        "tiny is currently over capacity. Please try again and back off exponentially."
    )
    assert answer.type == "internal_server_error"
    assert answer.headers == {"retry-after": "1"}


@pytest.mark.parametrize("error", [AdapterLoadFailed("d"), ObjectCorrupt("k")])
def test_weights_that_cannot_be_used_are_not_worth_a_retry(error: RegistryError) -> None:
    assert from_domain(error, "tiny").headers == {"x-should-retry": "false"}


def test_a_refused_prompt_says_why() -> None:
    answer = from_domain(PromptRefused("Roles must alternate."))
    assert (answer.status, answer.message) == (400, "Roles must alternate.")
    assert len(from_domain(PromptRefused("x" * 10_000)).message) <= 500


def test_an_invalid_adapter_keeps_its_rule_and_its_place() -> None:
    answer = from_domain(InvalidAdapter("bad_rank", "r must be 8.", param="r"))
    assert (answer.status, answer.code, answer.param) == (400, "bad_rank", "r")
    assert answer.message == "r must be 8."
