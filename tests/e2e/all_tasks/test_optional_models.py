"""A server whose catalog has models that cannot start: the others serve, and it says which do."""

import httpx
import pytest

from tests.e2e.all_tasks.catalog import (
    BROKEN,
    EMBEDDING,
    LLM_RERANKER,
    SPEECH,
    TRANSCRIPTION,
    VOICELESS,
)
from tests.fixtures.server import Server

pytestmark = pytest.mark.engine

ABSENT = {BROKEN, VOICELESS}
UP = {EMBEDDING, LLM_RERANKER, SPEECH, TRANSCRIPTION}


def test_readiness_says_which_models_are_up(all_tasks: Server) -> None:
    answer = httpx.get(f"{all_tasks.url}/health/ready")
    readiness = answer.json()

    assert answer.status_code == 200
    assert readiness["status"] == "ok"
    assert readiness["failing"] == []
    assert set(readiness["degraded"]) == {f"model {id}" for id in ABSENT}
    models = readiness["models"]
    assert {id for id, status in models.items() if status == "up"} >= UP
    assert {id for id, status in models.items() if status == "not_started"} == ABSENT


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("embeddings", {"model": BROKEN, "input": "text"}),
        ("audio/speech", {"model": VOICELESS, "input": "text", "voice": "joe"}),
    ],
)
def test_the_routes_of_a_model_that_did_not_start_answer_503_with_a_reason(
    all_tasks: Server, path: str, body: dict[str, str]
) -> None:
    headers = {"authorization": f"Bearer {all_tasks.key('unlucky')}"}
    answer = httpx.post(f"{all_tasks.url}/openai/v1/{path}", json=body, headers=headers)

    assert answer.status_code == 503
    assert answer.headers["x-should-retry"] == "false"
    assert f"`{body['model']}` could not be started" in answer.json()["error"]["message"]


def test_the_model_list_tells_which_are_active(all_tasks: Server) -> None:
    headers = {"authorization": f"Bearer {all_tasks.key('reader')}"}
    listed = httpx.get(f"{all_tasks.url}/openai/v1/models", headers=headers).json()["data"]

    assert {model["id"] for model in listed if not model["active"]} == ABSENT
    assert {model["id"] for model in listed if model["active"]} >= UP


def test_the_operator_finds_the_reason_in_the_log(all_tasks: Server) -> None:
    lines = all_tasks.log.read_text(errors="replace").splitlines()
    for id in ABSENT:
        assert any("optional model not started" in line and id in line for line in lines)
