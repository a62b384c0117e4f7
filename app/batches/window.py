"""How long a batch may take, as clients write it: `24h` to `7d`."""

import re

HOUR = 3600
SHORTEST, LONGEST = 24 * HOUR, 7 * 24 * HOUR
PATTERN = r"^(2[4-9]|[3-9][0-9]|1[0-5][0-9]|16[0-8])h$|^[1-7]d$"
"""What is accepted, for the readers of a schema."""

_WINDOW = re.compile(r"([1-9][0-9]{0,2})([hd])")
_UNITS = {"h": HOUR, "d": 24 * HOUR}


def window_seconds(text: str) -> int | None:
    """Return a completion window in seconds; None for what is none or not within the bounds."""
    match = _WINDOW.fullmatch(text)
    if match is None:
        return None
    seconds = int(match[1]) * _UNITS[match[2]]
    return seconds if SHORTEST <= seconds <= LONGEST else None
