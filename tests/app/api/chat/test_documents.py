"""Documents become part of the prompt."""

from typing import Any

import httpx
import pytest

from tests.app.api.chat.bodies import MESSAGES, chat_body
from tests.app.api.chat.stubs import Rig
from tests.app.inference.stubs import answer

URL = "/openai/v1/chat/completions"
TEXT = {"source": {"type": "text", "text": "Bees hum."}}
DATA = {"id": "facts", "source": {"type": "json", "data": {"é": [1, None]}}}
WRITTEN = '[1]\nBees hum.\n\n[facts]\n{"é": [1, null]}'
CITED = f"Cite each document that you use by its id in square brackets, like [1].\n\n{WRITTEN}"


async def prompt(rig: Rig, http: httpx.AsyncClient, **fields: Any) -> list[dict[str, Any]]:
    rig.engine.script = answer("ok")
    response = await http.post(URL, json=chat_body(**fields))
    assert response.status_code == 200, response.text
    messages: list[dict[str, Any]] = rig.engine.jobs[0].messages
    return messages


async def test_documents_stand_before_the_conversation(rig: Rig, http: httpx.AsyncClient) -> None:
    system, *others = await prompt(rig, http, documents=[TEXT, DATA])
    assert system == {
        "role": "system",
        "content": f"Use these documents to answer. {CITED}",
    }
    assert others == MESSAGES


async def test_documents_join_the_system_message_that_is_there(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    messages = [{"role": "developer", "content": "Be brief."}, *MESSAGES]
    system, *others = await prompt(rig, http, messages=messages, documents=[TEXT, DATA])
    assert system["role"] == "system"
    assert system["content"] == f"Be brief.\n\nUse these documents to answer. {CITED}"
    assert others == MESSAGES


async def test_documents_join_a_system_message_of_parts(rig: Rig, http: httpx.AsyncClient) -> None:
    part = {"type": "text", "text": "Be brief."}
    messages = [{"role": "system", "content": [part]}, *MESSAGES]
    system, *_ = await prompt(rig, http, messages=messages, documents=[TEXT, DATA])
    text = f"Use these documents to answer. {CITED}"
    assert system["content"] == [part, {"type": "text", "text": text}]


async def test_citations_can_be_turned_off(rig: Rig, http: httpx.AsyncClient) -> None:
    system, *_ = await prompt(rig, http, documents=[TEXT, DATA], citation_options="disabled")
    text = f"Use these documents to answer. Do not cite the documents.\n\n{WRITTEN}"
    assert system["content"] == text


async def test_without_documents_citations_change_nothing(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    assert await prompt(rig, http, documents=[], citation_options="enabled") == MESSAGES


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"source": {"type": "url", "url": "https://a.test"}}, "documents.0.source"),
        ({"source": {"type": "text"}}, "documents.0.source.text"),
        ({"source": {"type": "json", "data": []}}, "documents.0.source.data"),
        ({"text": "a"}, "documents.0.source"),
    ],
)
async def test_a_wrong_document_is_named(
    rig: Rig, http: httpx.AsyncClient, document: dict[str, Any], param: str
) -> None:
    response = await http.post(URL, json=chat_body(documents=[document]))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert rig.engine.jobs == []
