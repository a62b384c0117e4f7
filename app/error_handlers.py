"""Turns every exception that leaves a route into Groq's error envelope; no other code does."""

from typing import cast
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.error_response import error_response
from app.errors import ApiError, internal_error, shortened, unknown_url
from app.failures import EXPECTED, said
from app.ids import new_id
from app.validation import invalid

log = structlog.get_logger(__name__)


def register(app: FastAPI) -> None:
    """Install the handlers."""
    for kind in EXPECTED:
        app.add_exception_handler(kind, _expected)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    app.add_exception_handler(Exception, _unexpected)


async def _expected(request: Request, error: Exception) -> Response:
    answer = said(error)
    if answer.status >= 500:
        log.error(
            "request failed",
            request_id=_request_id(request),
            status=answer.status,
            exc_info=answer.__cause__ or answer,
        )
    return error_response(answer)


async def _http_exception(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    path = quote(request.scope["path"])
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return error_response(unknown_url(request.method, path), headers)
    if error.status_code == 405:
        message = f"Method not allowed: {shortened(f'{request.method} {path}', 256)}"
        return error_response(ApiError(405, message, code="method_not_allowed"), headers)
    return error_response(ApiError(error.status_code, shortened(str(error.detail), 256)), headers)


async def _validation_error(request: Request, error: Exception) -> Response:
    problems = [
        {**problem, "loc": problem["loc"][1:] or problem["loc"]}
        for problem in cast(RequestValidationError, error).errors()[:1]
    ]
    return error_response(invalid(problems))  # type: ignore[arg-type]


async def _disconnected(request: Request, error: Exception) -> Response:
    """Nobody receives it; 499 is what logs and metrics show."""
    return Response(status_code=499)


async def _unexpected(request: Request, error: Exception) -> Response:
    """Runs outside all middleware, so that it adds the request id itself; the server logs why."""
    request_id = _request_id(request) or new_id("req")
    log.error("unexpected error", request_id=request_id, error=type(error).__name__)
    return error_response(internal_error(), {"x-request-id": request_id})


def _request_id(request: Request) -> str | None:
    return cast(str | None, request.scope.get("state", {}).get("request_id"))
