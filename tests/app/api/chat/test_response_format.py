"""Answers that must be JSON, over HTTP."""

from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from app.engine.base import Delta
from tests.app.api.chat.bodies import MESSAGES, chat_body
from tests.app.api.chat.stubs import Rig
from tests.app.inference.stubs import BASE, USAGE, answer
from tests.e2e.chat_streams import accumulated, chunks_of, error_of

URL = "/openai/v1/chat/completions"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "dry": {"const": None}},
    "required": ["city", "dry"],
    "additionalProperties": False,
}
FITS = '{"city": "Lima", "dry": null}'
CUT = "max completion tokens reached before generating a valid document"
JSON_OBJECT = {"type": "json_object"}
ASKED = [{"role": "user", "content": "Answer in JSON."}]


def wanted(schema: Any = SCHEMA, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, **fields}}


def saying(text: str, reason: Any = "stop") -> list[Delta]:
    return [Delta(text, tokens=3), Delta(finish_reason=reason, usage=USAGE, tokens=1)]


async def test_the_engine_is_asked_for_the_schema_as_it_was_written(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = saying(FITS)
    format = wanted(strict=True, description="A place.")
    response = await http.post(URL, json=chat_body(response_format=format))
    assert response.json()["choices"][0]["message"]["content"] == FITS
    assert rig.engine.jobs[0].response_format == format


@pytest.mark.parametrize("strict", [True, False, None])
async def test_a_document_is_streamed_as_any_text(
    rig: Rig, http: httpx.AsyncClient, strict: bool | None
) -> None:
    rig.engine.script = answer(FITS[:9], FITS[9:])
    body = chat_body(response_format=wanted(strict=strict), stream=True)
    choice = accumulated(chunks_of((await http.post(URL, json=body)).text))
    assert (choice["content"], choice["finish_reason"]) == (FITS, "stop")


WRONG = [
    ('{"town": "Lima"}', "stop", "Generated JSON does not match the expected schema."),
    ("Lima", "stop", "Generated JSON does not match the expected schema."),
    ('{"city": "Li', "length", CUT),
]


@pytest.mark.parametrize(("text", "reason", "said"), WRONG)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_document_that_does_not_fit_is_json_validate_failed(
    rig: Rig, http: httpx.AsyncClient, text: str, reason: str, said: str, stream: bool
) -> None:
    rig.engine.script = saying(text, reason)
    response = await http.post(URL, json=chat_body(response_format=wanted(), stream=stream))
    error = error_of(response.text) if stream else response.json()["error"]
    assert (error["code"], error["failed_generation"]) == ("json_validate_failed", text)
    assert error["message"].startswith(said)
    assert response.status_code == (200 if stream else 400)


async def test_json_mode_gives_an_object_or_an_error(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.script = saying("{}")
    body = chat_body(messages=ASKED, response_format=JSON_OBJECT)
    assert (await http.post(URL, json=body)).json()["choices"][0]["message"]["content"] == "{}"
    rig.engine.script = saying("[]")
    assert (await http.post(URL, json=body)).json()["error"]["code"] == "json_validate_failed"


async def test_json_mode_wants_to_be_asked_for_json(rig: Rig, http: httpx.AsyncClient) -> None:
    response = await http.post(URL, json=chat_body(response_format=JSON_OBJECT))
    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": "'messages' must contain the word 'json' in some form, to use "
        "'response_format' of type 'json_object'.",
        "type": "invalid_request_error",
        "param": "messages",
    }
    assert rig.engine.jobs == []


async def test_a_strict_schema_that_breaks_the_rules_is_refused(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    loose = {**SCHEMA, "required": ["city"]}
    response = await http.post(URL, json=chat_body(response_format=wanted(loose, strict=True)))
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "response_format")
    assert error["schema_kind"]
    rig.engine.script = saying('{"city": "Lima"}')
    accepted = await http.post(URL, json=chat_body(response_format=wanted(loose)))
    assert accepted.status_code == 200


class Place(BaseModel):
    """A city."""

    city: str
    dry: None


async def test_the_openai_client_parses_an_answer(
    rig: Rig, openai_client: openai.AsyncOpenAI
) -> None:
    rig.engine.script = saying(FITS)
    messages: Any = MESSAGES
    completion = await openai_client.chat.completions.parse(
        model=BASE, messages=messages, response_format=Place
    )
    assert completion.choices[0].message.parsed == Place(city="Lima", dry=None)
