"""The OpenAPI document: valid, whole, and as strict as the models that read the requests."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import jsonschema
import pytest
import schemathesis
from pydantic import BaseModel, TypeAdapter
from typer.testing import CliRunner

from app import cli, openapi, routes
from app.api.batches.schemas import CreateBatchRequest
from app.api.chat.schemas import ChatCompletionRequest
from app.api.completions.schemas import CompletionRequest
from app.api.embeddings.schemas import CreateEmbeddingRequest
from app.api.fine_tunings.schemas import CreateFineTuningRequest, PinRequest
from app.api.reranking.schemas import RerankingRequest
from app.api.responses.schemas import ResponseRequest
from app.api.speech.schemas import SpeechRequest
from app.audio.formats import FORMATS
from app.main import bare_app

REQUESTS = [
    ChatCompletionRequest,
    CompletionRequest,
    CreateBatchRequest,
    CreateEmbeddingRequest,
    CreateFineTuningRequest,
    PinRequest,
    RerankingRequest,
    ResponseRequest,
    SpeechRequest,
]
OPEN = {"getLiveness", "getReadiness", "getMetrics"}
STREAMS = {"createChatCompletion", "createCompletion", "createResponse"}
INFERENCE = {
    *STREAMS,
    "createEmbedding",
    "createReranking",
    "createSpeech",
    "createTranscription",
    "createTranslation",
}
WITHOUT_BODY = {"activateFineTuning", "cancelBatch", "warmFineTuning"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.document(bare_app())


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = [
        {**operation, "path": path, "method": method}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    named = {operation["operationId"]: operation for operation in found}
    assert len(named) == len(found)
    return named


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()


def test_its_schemas_are_json_schemas_and_its_references_lead_somewhere(
    document: dict[str, Any],
) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for reference in references(document):
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_route_is_there_at_the_address_that_groq_gives_it(
    operations: dict[str, dict[str, Any]],
) -> None:
    served = set()
    for router in (*routes.API, *routes.OPEN):
        prefix = "" if router in routes.OPEN else routes.prefix_in_document(router)
        for route in router.routes:
            path = route.path.replace(":path}", "}")  # type: ignore[attr-defined]
            served |= {(method.lower(), prefix + path) for method in route.methods}  # type: ignore[attr-defined]
    # What Groq's ids with slashes would match: it answers 404 to everything.
    served = {(method, path) for method, path in served if "ft:" not in path}

    assert {(op["method"], op["path"]) for op in operations.values()} == served


def test_every_operation_has_a_stable_id_a_summary_and_answers(
    operations: dict[str, dict[str, Any]],
) -> None:
    for name, operation in operations.items():
        assert name.isidentifier()
        assert "_" not in name, "it is declared at the route, not made from the path"
        assert operation["summary"]
        answer = operation["responses"]["200"]
        assert answer["content"]
        assert "x-request-id" in answer["headers"]


def test_every_operation_but_the_probes_needs_a_key_and_tells_its_errors(
    document: dict[str, Any], operations: dict[str, dict[str, Any]]
) -> None:
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for name, operation in operations.items():
        if name in OPEN:
            assert "security" not in operation
            continue
        assert operation["security"] == [{"key": []}]
        for status in ("401", "404", "429", "503", "4XX", "5XX"):
            schema = operation["responses"][status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorResponse"}
        assert "retry-after" in operation["responses"]["429"]["headers"]


def test_every_post_has_its_body(operations: dict[str, dict[str, Any]]) -> None:
    for name, operation in operations.items():
        if operation["method"] == "post" and name not in WITHOUT_BODY:
            assert operation["requestBody"]["content"], name
        else:
            assert "requestBody" not in operation, name
    assert "required" not in operations["pinFineTuning"]["requestBody"]
    assert operations["createResponse"]["requestBody"]["required"] is True


def test_uploads_are_forms_and_downloads_are_bytes(operations: dict[str, dict[str, Any]]) -> None:
    form = operations["uploadFile"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["file"]["format"] == "binary"
    assert form["properties"]["purpose"]["enum"] == ["batch", "fine_tuning"]
    assert form["required"] == ["file", "purpose"]
    content = operations["downloadFile"]["responses"]["200"]["content"]
    assert list(content) == ["application/octet-stream"]


def test_speech_is_bytes_of_each_format(operations: dict[str, dict[str, Any]]) -> None:
    content = operations["createSpeech"]["responses"]["200"]["content"]
    assert set(content) == {kind.media_type for kind in FORMATS.values()}
    assert content["audio/wav"]["schema"] == {"type": "string", "format": "binary"}


def test_generations_may_be_streams_and_inference_tells_rate_limits(
    operations: dict[str, dict[str, Any]],
) -> None:
    for name, operation in operations.items():
        answer = operation["responses"]["200"]
        assert ("text/event-stream" in answer["content"]) == (name in STREAMS)
        assert ("x-ratelimit-remaining-tokens" in answer["headers"]) == (name in INFERENCE)
        assert ("x-adapter-tier" in answer["headers"]) == (name in INFERENCE)
        assert ("498" in operation["responses"]) == (name in INFERENCE)


@pytest.mark.parametrize("model", REQUESTS)
def test_a_request_is_as_closed_and_as_limited_as_its_model(
    document: dict[str, Any], model: type[BaseModel]
) -> None:
    schema = document["components"]["schemas"][model.__name__]

    assert set(schema["properties"]) == set(model.model_fields)
    assert schema["additionalProperties"] is False
    for name, field in model.model_fields.items():
        said = schema["properties"][name]
        if field.description:
            assert said["description"] == field.description
        own = TypeAdapter(field.rebuild_annotation()).json_schema()
        assert limits(said, document) == limits(own, own), name
        assert set(said) - {"title", "default"}, f"{name} says nothing of what it takes"


LIMITS = {
    *("minLength", "maxLength", "pattern", "minItems", "maxItems", "minProperties"),
    *("maxProperties", "minimum", "maximum", "enum", "const"),
}


def limits(node: Any, document: Mapping[str, Any], seen: tuple[str, ...] = ()) -> set[str]:
    """Every limit that a schema sets, itself or in what it refers to."""
    if isinstance(node, list):
        return set().union(*(limits(child, document, seen) for child in node))
    if not isinstance(node, dict):
        return set()
    found = {f"{key}: {limit(node[key])}" for key in LIMITS & set(node)}
    reference = node.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        found |= limits(target, document, (*seen, reference))
    children = [child for key, child in node.items() if key not in {*LIMITS, "$ref", "$defs"}]
    return found | limits(children, document, seen)


def limit(value: Any) -> str:
    # FastAPI writes bounds of integers as floats.
    return json.dumps(float(value) if type(value) is int else value)


def test_unions_told_apart_by_code_are_alternatives(document: dict[str, Any]) -> None:
    messages = document["components"]["schemas"]["ChatCompletionRequest"]["properties"]["messages"]
    assert len(messages["items"]["oneOf"]) == 5
    content = document["components"]["schemas"]["ToolMessage"]["properties"]["content"]
    assert [option["type"] for option in content["oneOf"]] == ["string", "array"]


def test_values_that_only_code_refuses_are_named(document: dict[str, Any]) -> None:
    chat = document["components"]["schemas"]["ChatCompletionRequest"]["properties"]
    assert chat["search_settings"]["enum"] == [None, [], {}]
    responses = document["components"]["schemas"]["ResponseRequest"]["properties"]
    # 0 and False are equal in Python, not in JSON.
    assert repr(responses["top_logprobs"]["enum"]) == "[None, 0]"
    assert repr(responses["store"]["enum"]) == "[None, False]"


def test_nothing_of_the_deployment_or_the_code_is_in_it(document: dict[str, Any]) -> None:
    written = json.dumps(document)
    for leak in ("app__", "app.", "adapters_registry", "sqlite", "/tmp", "localhost", "127.0.0.1"):
        assert leak not in written


async def test_it_is_served_without_a_key() -> None:
    app = bare_app()
    openapi.serve(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
        response = await http.get("/openapi.json")
    assert response.status_code == 200
    assert response.json()["info"]["title"]


def test_the_command_line_prints_it(document: dict[str, Any]) -> None:
    printed = CliRunner().invoke(cli.main, ["openapi"])
    assert printed.exit_code == 0
    assert json.loads(printed.stdout) == document
