"""Plain data of metering: whose usage of what, and how much of it."""

from collections.abc import Mapping
from datetime import date
from operator import add
from typing import NamedTuple, Protocol, Self


class Account(NamedTuple):
    """Whose usage of what is added up.

    `key_id` is empty for lines of a batch that has none; `adapter` is the immutable id of a
    version, empty for the base model itself.
    """

    org_id: str
    key_id: str
    model: str
    adapter: str
    is_batch: bool


class Entry(NamedTuple):
    """An account on one day, UTC."""

    day: date
    account: Account


class Amounts(NamedTuple):
    """How much was used; whole numbers, so that sums are exact. `cached_tokens` are prompt's."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    input_characters: int = 0
    input_audio_ms: int = 0
    output_audio_ms: int = 0

    def plus(self, other: Self) -> "Amounts":
        """Add each."""
        return Amounts(*map(add, self, other))


Sums = Mapping[Entry, Amounts]


class Ledger(Protocol):
    """Takes note of what one request has used; costs the event loop next to nothing."""

    def record(self, account: Account, amounts: Amounts) -> None: ...
