"""What a fetch brings home, and how it fails. The messages are for callers.

FetchFailed
├── UrlRefused   the text is no URL that may be fetched, whatever lies behind it
├── TooLarge     more content than was asked for
├── TypeRefused  content of another type than was asked for
└── Unreachable  anything else: refused addresses, closed ports and slow servers all look alike
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fetched:
    """Content with the media type that its sender claims: lower-case, without parameters."""

    content: bytes
    media_type: str


class FetchFailed(Exception):
    """Base of the errors of a fetch."""


class UrlRefused(FetchFailed):
    """The text alone tells that it will not be fetched."""


class TooLarge(FetchFailed):
    """There are more bytes than the limit."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The content is too large: at most {max_bytes} bytes are accepted.")


class TypeRefused(FetchFailed):
    """The content claims to be of a type that was not asked for."""

    def __init__(self, accept: Sequence[str]) -> None:
        super().__init__(f"The content must be of type {', '.join(accept)}.")


class Unreachable(FetchFailed):
    """Nothing came; the message never tells why."""

    def __init__(self) -> None:
        super().__init__("The URL could not be fetched: it must be public and answer in time.")


def is_accepted(media_type: str, accept: Sequence[str]) -> bool:
    """Match a media type with `type/subtype` and `type/*` entries."""
    kind = media_type.split("/", 1)[0]
    return media_type in accept or f"{kind}/*" in accept
