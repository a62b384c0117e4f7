"""An error as a response over HTTP, the same from every part of the service."""

from collections.abc import Mapping

from starlette.responses import Response

from app.errors import ApiError


def error_response(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """Make the response of an error, with further headers beside its own."""
    return Response(
        error.body(),
        status_code=error.status,
        headers={**error.headers, **(headers or {})},
        media_type="application/json",
    )
