"""Errors as clients see them: one class, one envelope, Groq's wording and codes.

Also the one table from the domain errors of the registry and the engines to these answers, for the
exception handlers and for streams that have already begun. Nothing here repeats the text of a
library's exception, a path or a key.

**Source:** GroqCloud OpenAPI v2.1, schemas `Error` and `ErrorResponse`. Absent optional fields are
left out, not null.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from adapters_registry.errors import (
    AdapterCapacityExceeded,
    AdapterLoadFailed,
    InvalidAdapter,
    ObjectCorrupt,
    ObjectNotFound,
    RegistryError,
    StoreUnavailable,
)
from app.engine.base import (
    AnswerUnreadable,
    EngineDead,
    EngineError,
    EngineOverloaded,
    PromptRefused,
    PromptTooLong,
)
from app.engine.pooling import InputFault, InputRefused
from app.tasks import ABILITIES, Task

ECHO_CHARACTERS = 128
"""Most of a caller's own text that an error repeats."""

PROMPT_REFUSAL_CHARACTERS = 500

NO_RETRY = {"x-should-retry": "false"}

_SEE_TEXT = "Please adjust your prompt. See 'failed_generation' for more details."

JSON_NOT_MADE = f"Failed to generate JSON. {_SEE_TEXT}"
JSON_CUT_OFF = "max completion tokens reached before generating a valid document"
JSON_NOT_MATCHING = f"Generated JSON does not match the expected schema. {_SEE_TEXT}"
NO_CALL_MADE = f"Failed to call a function. {_SEE_TEXT}"
CALL_REQUIRED = "Tool choice is required, but model did not call a tool"
"""Groq's wordings for `json_validate_failed` and `tool_use_failed`; clients match on them."""


class ApiError(Exception):
    """An answer with a 4xx or 5xx status. `headers` may carry `retry-after`, `x-should-retry`.

    `extra` holds further fields of the envelope, such as `failed_generation` or `schema_path`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.headers = headers or {}
        self.extra = dict(extra or {})

    def envelope(self) -> dict[str, Any]:
        """Return the JSON body."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        fields = {**error, **self.extra}
        return {"error": {key: value for key, value in fields.items() if value is not None}}

    def body(self) -> bytes:
        """Return the JSON body as ASCII, which can be sent whatever text the error repeats."""
        return json.dumps(self.envelope()).encode()


def shortened(text: str, limit: int = ECHO_CHARACTERS) -> str:
    """Cut a caller's text to what an error may repeat of it."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def invalid_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request cannot be followed as written."""
    return ApiError(400, message, param=param, code=code)


def json_validate_failed(failed_generation: str, message: str = JSON_NOT_MADE) -> ApiError:
    """400: the model's text is not the document that was asked for; the text is in the answer."""
    return _failed_generation("json_validate_failed", message, failed_generation)


def tool_use_failed(failed_generation: str, message: str = NO_CALL_MADE) -> ApiError:
    """400: the model made no call, or one that the tools do not allow; its text is sent along."""
    return _failed_generation("tool_use_failed", message, failed_generation)


def _failed_generation(code: str, message: str, text: str) -> ApiError:
    return ApiError(400, message, code=code, extra={"failed_generation": text})


def invalid_api_key() -> ApiError:
    """401: the same for a missing and for a wrong key."""
    return ApiError(401, "Invalid API Key", code="invalid_api_key")


def not_found(kind: str, id: str) -> ApiError:
    """404: unknown, deleted or another organisation's; all alike."""
    message = f"No such {kind} object: {shortened(id)}"
    return ApiError(404, message, code="not_found", param="id")


def model_not_found(model: str) -> ApiError:
    """404: unknown, deleted or another organisation's model; all alike."""
    model = shortened(model, 256)
    message = f"The model `{model}` does not exist or you do not have access to it."
    return ApiError(404, message, code="model_not_found")


def wrong_task(model: str, task: Task) -> ApiError:
    """400: the model exists and is of another kind."""
    message = f"The model `{shortened(model, 256)}` does not support {ABILITIES[task]}."
    return invalid_request(message, param="model")


def model_not_started(model: str) -> ApiError:
    """503: the deployment has the model, but could not start it; the operator's log says why."""
    model = shortened(model, 256)
    message = f"The model `{model}` could not be started on this server and is not available."
    return ApiError(503, message, type="internal_server_error", headers=NO_RETRY)


def unknown_url(method: str, path: str) -> ApiError:
    """404: no route has this path."""
    url = shortened(f"{method} {path}", 256)
    message = f"Unknown request URL: {url}. Please check the URL for typos."
    return ApiError(404, message, code="unknown_url")


def body_too_large(limit_bytes: int) -> ApiError:
    """413: the request's body is over the deployment's limit."""
    message = f"The request body is too large: at most {limit_bytes} bytes are accepted."
    return ApiError(413, message, code="request_too_large", headers=NO_RETRY)


def quota_exceeded(quota_bytes: int, *, param: str) -> ApiError:
    """413: the organisation keeps as many bytes of files as it may."""
    message = (
        f"Your organization's files would be more than its quota of {quota_bytes} bytes. Please "
        "delete files that are no longer needed."
    )
    return ApiError(413, message, param=param, code="file_quota_exceeded", headers=NO_RETRY)


def overloaded(message: str, *, retry_after_seconds: int = 1) -> ApiError:
    """503: nothing is wrong with the request; try again later."""
    headers = {"retry-after": str(retry_after_seconds)}
    return ApiError(503, message, type="internal_server_error", headers=headers)


def over_capacity(model: str, *, retry_after_seconds: int = 1) -> ApiError:
    """503: a model has as many requests as it can take."""
    model = shortened(model, 256)
    message = f"{model} is currently over capacity. Please try again and back off exponentially."
    return overloaded(message, retry_after_seconds=retry_after_seconds)


def capacity_exceeded() -> ApiError:
    """498: the flex tier gives no place in a queue, and nothing is free now."""
    message = "Flex tier capacity exceeded. Please try again later, or use another service tier."
    return ApiError(498, message, type="capacity_exceeded", code="capacity_exceeded")


def unavailable() -> ApiError:
    """503: a part of the service does not answer; says nothing about which."""
    return overloaded("The service is temporarily unavailable.", retry_after_seconds=5)


def internal_error() -> ApiError:
    """500: says nothing about its cause."""
    return ApiError(500, "Internal Server Error", type="internal_server_error")


def from_domain(
    error: RegistryError | EngineError, model: str | None = None, *, field: str = "messages"
) -> ApiError:
    """Say a domain error to a client.

    `model` is the public id that the request named, `field` the place of its prompt.
    """
    if isinstance(error, InputRefused):
        return _input_refused(error, field)
    if isinstance(error, PromptTooLong):
        message = f"Please reduce the length of the {field} or completion."
        return invalid_request(message, param=field, code="context_length_exceeded")
    if isinstance(error, PromptRefused):
        message = shortened(str(error), PROMPT_REFUSAL_CHARACTERS)
        return invalid_request(message, param=error.param or field)
    answers = (_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)
    return next(answers)(error, model)


def _input_refused(error: InputRefused, field: str) -> ApiError:
    param = f"{field}.{error.index}"
    message = f"'{param}' : {_INPUT_FAULTS[error.fault]}"
    code = "context_length_exceeded" if error.fault == "too_long" else None
    return invalid_request(message, param=param, code=code)


_INPUT_FAULTS: dict[InputFault, str] = {
    "empty": "value must not be empty",
    "too_long": "value is longer than the model's context window",
    "unknown_token": "value has a token id that is not in the model's vocabulary",
    "unreadable": "value cannot be given to this model",
}


def _gone(error: Exception, model: str | None) -> ApiError:
    if model is not None:
        return model_not_found(model)
    return ApiError(404, "The requested object does not exist.", code="not_found")


def _over_capacity(error: Exception, model: str | None) -> ApiError:
    return over_capacity(model or "The service")


def _unavailable(error: Exception, model: str | None) -> ApiError:
    return unavailable()


def _unusable(error: Exception, model: str | None) -> ApiError:
    subject = f"model `{shortened(model, 256)}`" if model else "requested object"
    message = f"The {subject} cannot be used at present."
    return ApiError(503, message, type="internal_server_error", headers=NO_RETRY)


def _invalid_adapter(error: Exception, model: str | None) -> ApiError:
    assert isinstance(error, InvalidAdapter)
    return invalid_request(error.message, param=error.param, code=error.code)


def _unreadable(error: Exception, model: str | None) -> ApiError:
    assert isinstance(error, AnswerUnreadable)
    return tool_use_failed(error.raw)


def _internal(error: Exception, model: str | None) -> ApiError:
    return internal_error()


_ANSWERS: dict[type, Callable[[Exception, str | None], ApiError]] = {
    ObjectNotFound: _gone,
    AdapterCapacityExceeded: _over_capacity,
    EngineOverloaded: _over_capacity,
    AnswerUnreadable: _unreadable,
    EngineDead: _unavailable,
    StoreUnavailable: _unavailable,
    AdapterLoadFailed: _unusable,
    ObjectCorrupt: _unusable,
    InvalidAdapter: _invalid_adapter,
    RegistryError: _internal,
    EngineError: _internal,
}
