"""Which headers of a message go on to the next hop. **Source:** RFC 9110 section 7.6.1."""

from collections.abc import Iterable
from typing import TypeAlias

Raw: TypeAlias = Iterable[tuple[bytes, bytes]]

FORWARDED = b"x-lora-api-forwarded"
"""Marks a request that a pool has passed on: it is answered, and not passed on again."""

OF_ONE_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
WRITTEN_ANEW = frozenset({b"date", b"expect", b"host"})
"""Each hop has its own, or has dealt with it."""


def is_forwarded(headers: Raw) -> bool:
    """Tell whether another pool has passed this request on."""
    return any(name.lower() == FORWARDED for name, _ in headers)


def of_request(headers: Raw) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request that is passed on, with our mark, for a single connection."""
    return [*passed_on(headers), (FORWARDED, b"1"), (b"connection", b"close")]


def passed_on(headers: Raw) -> list[tuple[bytes, bytes]]:
    """Return what is not for one hop alone, with names in lower case."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = {
        token.strip().lower()
        for name, value in lowered
        if name == b"connection"
        for token in value.split(b",")
    }
    dropped = OF_ONE_HOP | WRITTEN_ANEW | named
    return [(name, value) for name, value in lowered if name not in dropped]
