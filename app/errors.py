"""Errors as clients see them: one class, one envelope, Groq's wording and codes.

**Source:** GroqCloud OpenAPI v2.1, schemas `Error` and `ErrorResponse`. Absent optional fields are
left out, not null.
"""

from typing import Any


class ApiError(Exception):
    """An answer with a 4xx or 5xx status. `headers` may carry `retry-after`, `x-should-retry`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.headers = headers or {}

    def envelope(self) -> dict[str, Any]:
        """Return the JSON body."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": {key: value for key, value in error.items() if value is not None}}


def invalid_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request cannot be followed as written."""
    return ApiError(400, message, param=param, code=code)


def invalid_api_key() -> ApiError:
    """401: the same for a missing and for a wrong key."""
    return ApiError(401, "Invalid API Key", code="invalid_api_key")


def not_found(kind: str, id: str) -> ApiError:
    """404: unknown, deleted or another organisation's; all alike."""
    return ApiError(404, f"No such {kind} object: {id}", code="not_found", param="id")


def model_not_found(model: str) -> ApiError:
    """404: unknown, deleted or another organisation's model; all alike."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return ApiError(404, message, code="model_not_found")


def overloaded(message: str, *, retry_after_seconds: int = 1) -> ApiError:
    """503: nothing is wrong with the request; try again later."""
    headers = {"retry-after": str(retry_after_seconds)}
    return ApiError(503, message, type="internal_server_error", headers=headers)


def internal_error() -> ApiError:
    """500: says nothing about its cause."""
    return ApiError(500, "Internal Server Error", type="internal_server_error")
