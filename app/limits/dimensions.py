"""The six things that are limited, with the names that Groq's messages and headers give them."""

from typing import Literal, NamedTuple

Unit = Literal["requests", "tokens", "seconds"]

MINUTE, HOUR, DAY = 60, 3600, 86400


class Dimension(NamedTuple):
    """What is counted, and the seconds of the window that it is counted in."""

    name: str
    text: str
    unit: Unit
    seconds: int


class Limit(NamedTuple):
    """How much of one dimension a window admits."""

    dimension: Dimension
    amount: int


DIMENSIONS = (
    Dimension("rpm", "requests per minute (RPM)", "requests", MINUTE),
    Dimension("rpd", "requests per day (RPD)", "requests", DAY),
    Dimension("tpm", "tokens per minute (TPM)", "tokens", MINUTE),
    Dimension("tpd", "tokens per day (TPD)", "tokens", DAY),
    Dimension("ash", "seconds of audio per hour (ASPH)", "seconds", HOUR),
    Dimension("asd", "seconds of audio per day (ASPD)", "seconds", DAY),
)

IN_HEADERS = {"requests": "rpd", "tokens": "tpm"}
"""The one dimension of a unit that `x-ratelimit-*` headers tell about."""
