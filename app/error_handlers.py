"""Turns every exception that leaves a route into Groq's error envelope; no other code does."""

from typing import cast
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from adapters_registry.errors import RegistryError
from app.auth.errors import InvalidApiKey
from app.db.errors import DatabaseUnavailable
from app.engine.base import EngineError
from app.errors import (
    ApiError,
    from_domain,
    internal_error,
    invalid_api_key,
    shortened,
    unavailable,
    unknown_url,
)
from app.ids import new_id
from app.validation import invalid

log = structlog.get_logger(__name__)

BACKEND_LOST = (
    DatabaseUnavailable,
    OperationalError,
    InterfaceError,
    PoolTimeout,
    ConnectionError,
)
"""What a lost database raises: drivers let some errors through that SQLAlchemy does not wrap."""


def register(app: FastAPI) -> None:
    """Install the handlers."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RegistryError, _domain_error)
    app.add_exception_handler(EngineError, _domain_error)
    app.add_exception_handler(InvalidApiKey, _no_key)
    for lost in BACKEND_LOST:
        app.add_exception_handler(lost, _backend_lost)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    app.add_exception_handler(Exception, _unexpected)


def render(error: ApiError, headers: dict[str, str] | None = None) -> Response:
    """Make the response of an error."""
    return Response(
        error.body(),
        status_code=error.status,
        headers={**error.headers, **(headers or {})},
        media_type="application/json",
    )


async def _api_error(request: Request, error: Exception) -> Response:
    error = cast(ApiError, error)
    if error.status >= 500:
        log.error(
            "request failed",
            request_id=_request_id(request),
            status=error.status,
            exc_info=error.__cause__ or error,
        )
    return render(error)


async def _domain_error(request: Request, error: Exception) -> Response:
    answer = from_domain(cast(RegistryError | EngineError, error))
    answer.__cause__ = error
    return await _api_error(request, answer)


async def _backend_lost(request: Request, error: Exception) -> Response:
    answer = unavailable()
    answer.__cause__ = error
    return await _api_error(request, answer)


async def _no_key(request: Request, error: Exception) -> Response:
    return render(invalid_api_key())


async def _http_exception(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    path = quote(request.scope["path"])
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return render(unknown_url(request.method, path), headers)
    if error.status_code == 405:
        message = f"Method not allowed: {shortened(f'{request.method} {path}', 256)}"
        return render(ApiError(405, message, code="method_not_allowed"), headers)
    return render(ApiError(error.status_code, shortened(str(error.detail), 256)), headers)


async def _validation_error(request: Request, error: Exception) -> Response:
    problems = [
        {**problem, "loc": problem["loc"][1:] or problem["loc"]}
        for problem in cast(RequestValidationError, error).errors()[:1]
    ]
    return render(invalid(problems))  # type: ignore[arg-type]


async def _disconnected(request: Request, error: Exception) -> Response:
    """Nobody receives it; 499 is what logs and metrics show."""
    return Response(status_code=499)


async def _unexpected(request: Request, error: Exception) -> Response:
    """Runs outside all middleware, so that it adds the request id itself; the server logs why."""
    request_id = _request_id(request) or new_id("req")
    log.error("unexpected error", request_id=request_id, error=type(error).__name__)
    return render(internal_error(), {"x-request-id": request_id})


def _request_id(request: Request) -> str | None:
    return cast(str | None, request.scope.get("state", {}).get("request_id"))
