"""What a client is told about its `Idempotency-Key`."""

from app.errors import NO_RETRY, ApiError, invalid_request

HEADER = "Idempotency-Key"


def invalid_key() -> ApiError:
    """400: the header cannot be a key."""
    message = f"`{HEADER}` must be given once, as 1 to 255 printable ASCII characters"
    return invalid_request(message, param=HEADER, code="idempotency_key_invalid")


def key_reused() -> ApiError:
    """409: the key stands for another request."""
    message = (
        f"This `{HEADER}` was used for a request with another URL or other content. Repeat a "
        "request unchanged, or send a new key."
    )
    return _conflict("idempotency_key_reused", message, NO_RETRY)


def key_in_use() -> ApiError:
    """409: the first request still runs; SDKs try again by themselves."""
    message = f"A request with this `{HEADER}` is still running. Send it again for its result."
    return _conflict("idempotency_key_in_use", message, {"retry-after": "1"})


def object_deleted(id: str) -> ApiError:
    """409: what the key made was deleted, and is not made again behind its owner's back."""
    message = f"This `{HEADER}` made {id}, which was deleted since. Send a new key to make another."
    return _conflict("idempotency_key_object_deleted", message, NO_RETRY)


def _conflict(code: str, message: str, headers: dict[str, str]) -> ApiError:
    return ApiError(409, message, code=code, param=HEADER, headers=headers)
