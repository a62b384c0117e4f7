"""Requests made from our own OpenAPI document, valid and not, against the real server.

Whatever they hold: no 5xx, no answer that the document does not describe, nothing of another
organisation's, and an engine that answers afterwards as it did before.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi import checks

from app import openapi
from app.main import bare_app
from tests.contract.groq_watch import WATCH
from tests.fixtures.server import SMOLLM2, TINY, Server

pytestmark = pytest.mark.engine

DOCUMENT = openapi.document(bare_app())
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
SCHEMA.config.generation.update(with_security_parameters=False)


def can_be_wrong(operation: dict[str, Any]) -> bool:
    """Tell whether a request can be other than documented: any text will do for a path."""
    parameters = operation.get("parameters", [])
    return "requestBody" in operation or any(one["in"] != "path" for one in parameters)


CASES = [
    pytest.param(operation["operationId"], mode, id=f"{operation['operationId']}-{mode.value}")
    for methods in DOCUMENT["paths"].values()
    for operation in methods.values()
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or can_be_wrong(operation)
]
GENERATIONS = ("createChatCompletion", "createCompletion", "createResponse")
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
MOST_TOKENS = 4
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}


class Fuzzer:
    """Sends one operation's cases as one organisation, and counts the answers."""

    def __init__(self, server: Server, key: str) -> None:
        self._server = server
        self._headers = {"authorization": f"Bearer {key}"}
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.streams: Counter[str] = Counter()

    def run(self, operation_id: str, mode: GenerationMode, examples: int, *, fixed: bool) -> None:
        operation = SCHEMA.find_operation_by_id(operation_id)

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=fixed,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def send(case: Case) -> None:
            self._send(operation_id, case)

        send()

    def _send(self, operation_id: str, case: Case) -> None:
        if operation_id in GENERATIONS and isinstance(case.body, dict):
            case.body = quick(case.body)
        response = case.call(base_url=self._server.url, headers=self._headers, timeout=60)
        self.statuses[operation_id, response.status_code] += 1
        assert response.headers["x-request-id"][0].startswith("req_")
        applied = list(CHECKS)
        if "requestBody" in case.operation.definition.raw:
            # Not for queries: of a parameter that is given twice, the last one counts.
            applied.append(checks.negative_data_rejection)
        case.validate_response(response, checks=applied, headers=self._headers)
        content_type = response.headers.get("content-type", [""])[0]
        self.streams[operation_id] += content_type.startswith("text/event-stream")
        path = urlsplit(response.request.url).path
        WATCH.check(case.method, path, response.status_code, content_type, response.content)


def quick(body: dict[str, Any]) -> dict[str, Any]:
    """Ask the small model for few tokens and more streams, as far as the document allows it."""
    body = dict(body)
    model = body.get("model")
    if isinstance(model, str) and 1 <= len(model) <= 512 and model.isprintable():
        body["model"] = TINY
    if body.get("stream") is None and len(body) % 2:
        body["stream"] = True
    for name in LIMITS:
        limit = body.get(name)
        if type(limit) is int and limit > MOST_TOKENS:
            body[name] = MOST_TOKENS
    return body


@pytest.fixture(scope="module")
def fuzzer(server: Server) -> Fuzzer:
    return Fuzzer(server, server.key("schemathesis"))


@pytest.fixture(scope="module")
def neighbour(server: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {server.key('neighbour')}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def nothing_else_changes(neighbour: httpx.Client) -> Iterator[None]:
    """Another organisation's file, models and greedy answer are the same after all of it."""
    name = {"file": ("mine.jsonl", b'{"custom_id": "1"}\n')}
    done = neighbour.post("/v1/files", data={"purpose": "batch"}, files=name)
    assert done.status_code == 200
    before = view(neighbour)
    yield
    assert view(neighbour) == before


def view(client: httpx.Client) -> tuple[Any, ...]:
    body = {
        "model": SMOLLM2,
        "messages": [{"role": "user", "content": "Name three colours."}],
        "temperature": 0,
        "max_tokens": 12,
    }
    answer = client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]
    files = client.get("/v1/files").json()["data"]
    models = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert answer["content"]
    assert len(files) >= 1
    return answer, files, models


@pytest.mark.parametrize(("operation_id", "mode"), CASES)
def test_answers_are_as_documented(fuzzer: Fuzzer, operation_id: str, mode: GenerationMode) -> None:
    examples = 20 if operation_id in GENERATIONS else 5
    fuzzer.run(operation_id, mode, examples, fixed=True)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("operation_id", "mode"), CASES)
def test_many_answers_are_as_documented(
    fuzzer: Fuzzer, operation_id: str, mode: GenerationMode
) -> None:
    examples = 300 if operation_id in GENERATIONS else 50
    fuzzer.run(operation_id, mode, examples, fixed=False)


def test_both_good_and_bad_requests_were_among_them(fuzzer: Fuzzer) -> None:
    for operation_id in GENERATIONS:
        fuzzer.run(operation_id, GenerationMode.POSITIVE, 60, fixed=True)
        fuzzer.run(operation_id, GenerationMode.NEGATIVE, 5, fixed=True)
        assert fuzzer.statuses[operation_id, 200], fuzzer.statuses
        assert fuzzer.streams[operation_id], fuzzer.streams
        assert fuzzer.statuses[operation_id, 400], fuzzer.statuses


@pytest.mark.parametrize("path", sorted(DOCUMENT["paths"]))
def test_a_method_that_a_path_does_not_have_is_refused(server: Server, path: str) -> None:
    url = server.url + path.replace("{", "").replace("}", "")
    for method in sorted(METHODS - {known.upper() for known in DOCUMENT["paths"][path]}):
        response = httpx.request(method, url)
        assert response.status_code == 405, method
        assert response.headers["content-type"] == "application/json"
        error = response.json()["error"]
        assert error["code"] == "method_not_allowed"
        assert error["type"] == "invalid_request_error"
        assert response.headers["allow"]
        assert response.headers["x-request-id"].startswith("req_")


def test_the_server_answers_with_this_document(server: Server) -> None:
    assert httpx.get(f"{server.url}/openapi.json").json() == DOCUMENT
