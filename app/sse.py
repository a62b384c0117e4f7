"""JSON as the frames of our server-sent events hold it, and the frames that end a stream."""

import json
from collections.abc import AsyncGenerator

import msgspec
import structlog

from app.errors import ApiError

log = structlog.get_logger(__name__)

DONE = b"data: [DONE]\n\n"

_LINE_BREAKS = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)


def json_bytes(value: object) -> bytes:
    """Write a value as ASCII, without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def json_text(text: str) -> bytes:
    """Write a text as a JSON string, in UTF-8."""
    encoded = msgspec.json.encode(text)
    return encoded if text.isascii() else without_line_breaks(encoded)


def without_line_breaks(encoded: bytes) -> bytes:
    """Escape what JSON may hold raw but some clients' line splitting takes for an end of line."""
    for raw, escaped in _LINE_BREAKS:
        encoded = encoded.replace(raw, escaped)
    return encoded


def error_event(error: ApiError) -> bytes:
    """Write an error that came after the first token. The stream ends here, without `[DONE]`."""
    return b"event: error\ndata: " + error.body() + b"\n\n"


async def started(frames: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Take the first frame, which must be empty, and return the rest.

    So what goes wrong before the first token is raised here, and who closes the rest runs its
    cleanup, which closing a generator that was never started would not.
    """
    await anext(frames)
    return frames


def log_failed(request_id: str, error: ApiError) -> None:
    """Log why a stream ended early; what a model wrote wrong is no fault of the service."""
    if error.status >= 500:
        log.error("stream failed", request_id=request_id, status=error.status, exc_info=error)
    else:
        log.info("stream failed", request_id=request_id, status=error.status, code=error.code)
