"""Refusals in the words that Groq's clients parse: the window's name, the numbers, the wait."""

import math
from collections.abc import Mapping

from app.errors import NO_RETRY, ApiError
from app.limits.durations import go_duration
from app.limits.windows import Account, Window

CODE = "rate_limit_exceeded"


def rate_limit_reached(
    account: Account,
    window: Window,
    *,
    used: int,
    requested: int,
    wait_seconds: float,
    headers: Mapping[str, str],
) -> ApiError:
    """429: nothing is wrong with the request, but its window is spent."""
    message = (
        f"Rate limit reached for {_subject(account, window)}: Limit {window.limit.amount}, "
        f"Used {used}, Requested {requested}. Please try again in {go_duration(wait_seconds)}."
    )
    return _refusal(429, message, window, {**headers, **_retry_after(wait_seconds)})


def request_too_large(
    account: Account,
    window: Window,
    *,
    requested: int,
    wait_seconds: float,
    headers: Mapping[str, str],
) -> ApiError:
    """413: one request asks for more than a whole window admits; no wait can help."""
    message = (
        f"Request too large for {_subject(account, window)}: Limit {window.limit.amount}, "
        f"Requested {requested}, please reduce your message size and try again."
    )
    return _refusal(413, message, window, {**headers, **_retry_after(wait_seconds), **NO_RETRY})


def _subject(account: Account, window: Window) -> str:
    return (
        f"model `{account.model}` in organization `{account.org_id}` "
        f"service tier `{account.tier}` on {window.limit.dimension.text}"
    )


def _retry_after(wait_seconds: float) -> dict[str, str]:
    return {"retry-after": str(max(1, math.ceil(wait_seconds)))}


def _refusal(status: int, message: str, window: Window, headers: dict[str, str]) -> ApiError:
    return ApiError(status, message, type=window.limit.dimension.unit, code=CODE, headers=headers)
