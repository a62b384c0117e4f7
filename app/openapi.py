"""The API's OpenAPI document: FastAPI's own, made from the routes, and what FastAPI cannot see.

That is: bodies that `json_body` reads, who needs a key, headers that middleware adds, and errors.
All of it is found in the routes themselves; no schema is written here by hand.
"""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any, cast

from fastapi import Body, FastAPI, Response
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.utils import create_model_field
from pydantic import BaseModel, Field

from adapters_registry.types import Tier
from app import dependencies
from app.json_body import JsonBody

PATH = "/openapi.json"
DESCRIPTION = """GroqCloud's API over LoRA adapters of one's own, served by vLLM.

Every path under `/openai/v1` is served under `/v1` as well, and the other way round."""

_KEY = {"type": "http", "scheme": "bearer", "description": "An API key, `gsk_…`."}
_DURATION = r"^([0-9]+h)?([0-9]+m)?([0-9.]+(s|ms))?$"


class ErrorDetail(BaseModel):
    """What went wrong. Fields that do not apply are left out."""

    message: str
    type: str
    param: Annotated[str | None, Field(description="The field of the request that is wrong.")] = (
        None
    )
    code: Annotated[str | None, Field(description="What clients tell errors apart by.")] = None
    failed_generation: Annotated[
        str | None, Field(description="The model's text that is not what was asked for.")
    ] = None
    schema_path: Annotated[str | None, Field(description="Where a JSON schema is wrong.")] = None
    schema_path_segments: list[str] | None = None
    schema_kind: str | None = None
    schema_code: str | None = None


class ErrorResponse(BaseModel):
    """The body of every answer with a status of 400 or more."""

    error: ErrorDetail


class ServerSentEvent(BaseModel):
    """One event of a stream: a JSON document, or `[DONE]` where a stream of chunks is complete."""

    data: str
    event: Annotated[str, Field(description="The event's type, where it has one.")] = "message"


_Errors = dict[int | str, tuple[str, tuple[str, ...]]]

_ERRORS: _Errors = {
    401: ("The API key is missing or unknown.", ()),
    404: ("The object, model or path does not exist, or belongs to somebody else.", ()),
    429: ("A rate limit is reached.", ("retry-after",)),
    503: ("Over capacity, or a part of the service does not answer.", ("retry-after",)),
    "4XX": ("The request cannot be followed as it stands.", ("retry-after",)),
    "5XX": ("The service failed.", ("retry-after",)),
}
"""What each status means, and which headers may come with it."""

_GENERATION_ERRORS: _Errors = {
    413: ("The body is too large, or asks for more tokens than a whole limit.", ("retry-after",)),
    498: ("The flex tier has no capacity now.", ()),
}


def _header(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": schema}


_HEADERS = {
    "x-request-id": _header("The request's id, `req_…`.", type="string", pattern="^req_"),
    "retry-after": _header("Seconds to wait before a retry.", type="integer", minimum=1),
    "x-adapter-digest": _header("The SHA-256 of the weights that answered.", type="string"),
    "x-adapter-tier": _header("Where those weights were found.", enum=list(Tier)),
    "x-adapter-wait-ms": _header("Milliseconds until they could be used.", type="number"),
} | {
    f"x-ratelimit-{kind}-{unit.lower()}": _header(
        f"{unit} a {window}: {text}. If limited.", **schema
    )
    for unit, window in (("Requests", "day"), ("Tokens", "minute"))
    for kind, text, schema in (
        ("limit", "how many there may be", {"type": "integer"}),
        ("remaining", "how many are left", {"type": "integer"}),
        ("reset", "how long until all are free again", {"type": "string", "pattern": _DURATION}),
    )
}
_OF_GENERATIONS = tuple(
    name for name in _HEADERS if name.startswith(("x-ratelimit-", "x-adapter-"))
)


def or_stream(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Declare an answer that is one JSON document, or server-sent events where a stream is asked
    for: `responses=or_stream(Model)`.
    """
    content = {"text/event-stream": {"schema": ServerSentEvent.model_json_schema()}}
    return {200: {"model": model, "content": content}}


def binary(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """Declare an answer of bytes: `responses=binary()`, with a response class of no media type.

    Without media types, it is bytes of any kind.
    """
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": dict.fromkeys(media_types or ("application/octet-stream",), schema)}}


def multipart(form: type[BaseModel]) -> dict[str, Any]:
    """Declare a body of form parts: `openapi_extra=multipart(Form)`."""
    content = {"multipart/form-data": {"schema": form.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def document(app: FastAPI) -> dict[str, Any]:
    """Make the OpenAPI 3.1 document of the application's routes."""
    shown = [route for route in app.routes if isinstance(route, APIRoute)]
    made = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=[_told(route) for route in shown],
    )
    made["components"]["securitySchemes"] = {"key": _KEY}
    made["components"]["headers"] = _HEADERS
    # Where two models have one name, FastAPI says where they are from; the document need not.
    text = json.dumps(made).replace("app__api__", "")
    return cast(dict[str, Any], json.loads(text))


def serve(app: FastAPI) -> None:
    """Answer GET /openapi.json, which needs no key, with the document of the routes so far."""
    written = json.dumps(document(app)).encode()

    async def openapi() -> Response:
        return Response(written, media_type="application/json")

    app.add_api_route(PATH, openapi, include_in_schema=False)


def _told(route: APIRoute) -> APIRoute:
    """Copy a route for FastAPI to describe, with what it cannot see of it."""
    told = copy.copy(route)
    told.tags = [route.endpoint.__module__.split(".")[-2]]
    told.summary, _, told.description = route.description.partition("\n\n")
    told.summary = told.summary.replace("\n", " ").removesuffix(".")
    calls = list(_calls(route.dependant))
    needs_key = dependencies.caller in calls
    generates = dependencies.context in calls
    if needs_key:
        told.openapi_extra = {**(route.openapi_extra or {}), "security": [{"key": []}]}
    for call in calls:
        if isinstance(call, JsonBody):
            field = Body() if call.is_required else Body(None)
            field.annotation = call.model
            told.body_field = create_model_field("body", call.model, field_info=field)
    errors = {**(_ERRORS if needs_key else {}), **(_GENERATION_ERRORS if generates else {})}
    _tell_responses(told, errors, ("x-request-id", *(_OF_GENERATIONS if generates else ())))
    return told


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any] | None]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)


def _tell_responses(told: APIRoute, errors: _Errors, headers: tuple[str, ...]) -> None:
    """Add the errors, and to every response its headers."""
    responses: dict[int | str, dict[str, Any]] = {200: {}, **told.responses}
    for status, (description, more) in errors.items():
        error = {"description": description, "model": ErrorResponse, "headers": _referred(more)}
        responses.setdefault(status, error)
    for status, answer in responses.items():
        named = {**answer.get("headers", {}), **_referred(headers)}
        responses[status] = {**answer, "headers": named}
    told.responses = responses
    # As for input, where a field with a default may be absent: they are written without unset ones.
    told.response_fields = {
        status: create_model_field(f"{told.unique_id}_{status}", answer["model"])
        for status, answer in responses.items()
        if "model" in answer
    }


def _referred(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
