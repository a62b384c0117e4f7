"""Content that a caller writes into a `data:` URL. Pure; takes base64 and base64url, nothing else.

**Source:** RFC 2397 for the form; RFC 4648 sections 4 and 5 for the alphabets.
"""

import binascii
import re

from app.fetch.content import Fetched, TooLarge, UrlRefused

PREFIX = "data:"

_HEAD = re.compile(
    r"data:([A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+)?(?:;[A-Za-z0-9_.-]+=[^;,]*)*;base64",
    re.IGNORECASE,
)
_HEAD_CHARACTERS = 256
_URL_ALPHABET = str.maketrans("-_", "+/")


def is_data_url(text: str) -> bool:
    """Tell whether the text claims to be one."""
    return text[: len(PREFIX)].lower() == PREFIX


def decode_data_url(text: str, *, max_bytes: int) -> Fetched:
    """Return its content; padding may be left out, anything else must be right.

    Blocks for some milliseconds a megabyte. **Raises:** UrlRefused, TooLarge.
    """
    comma = text.find(",", 0, _HEAD_CHARACTERS)
    head = _HEAD.fullmatch(text, 0, comma) if comma >= 0 else None
    if head is None:
        raise UrlRefused("a data URL must have the form data:<type>;base64,<content>")
    characters = len(text) - comma - 1
    if characters > (max_bytes + 2) // 3 * 4:
        raise TooLarge(max_bytes)
    content = _decode(text[comma + 1 :])
    if len(content) > max_bytes:
        raise TooLarge(max_bytes)
    return Fetched(content, (head[1] or "text/plain").lower())


def _decode(text: str) -> bytes:
    if "=" not in text:
        text += "=" * (-len(text) % 4)
    if "-" in text or "_" in text:
        if "+" in text or "/" in text:
            raise UrlRefused("a data URL's content mixes two base64 alphabets")
        text = text.translate(_URL_ALPHABET)
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise UrlRefused("a data URL's content is not valid base64") from error
