"""Reading JSON that a stranger wrote: one object, and nothing that readers may disagree about."""

import json
from typing import Any, NoReturn

_SHOWN_CHARACTERS = 100


def parse_object(raw: bytes) -> dict[str, Any]:
    """Parse one JSON object.

    **Raises:** ValueError for anything else: bad UTF-8, lone surrogates, a key given twice, NaN or
    Infinity, nesting too deep to follow. The caller bounds the length.
    """
    try:
        value = json.loads(
            raw.decode(), object_pairs_hook=_without_duplicates, parse_constant=_refuse
        )
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def shown(value: object) -> str:
    """Return a parsed value for a message: JSON in printable ASCII, bounded in length."""
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "an object"
        return f"{kind} of {len(value)}" if value else f"an empty {kind.split()[1]}"
    text = json.dumps(value[:_SHOWN_CHARACTERS] if isinstance(value, str) else value)
    text = text.replace("\x7f", "\\u007f")
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        raise ValueError("a key is given twice")
    return parsed


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
