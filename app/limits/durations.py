"""Durations as Groq writes them in headers and messages: `7.66s`, `2m59.56s`, `400ms`, `1h2m`."""

import math


def go_duration(seconds: float) -> str:
    """Write a duration to the millisecond, rounded up; parts that are zero are left out."""
    # Rounded first, so that float noise below a microsecond does not cost a millisecond.
    milliseconds = max(0, math.ceil(round(seconds * 1000, 3)))
    if milliseconds == 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return _part(hours, "h") + _part(minutes, "m") + _seconds(rest)


def _part(number: int, unit: str) -> str:
    return f"{number}{unit}" if number else ""


def _seconds(milliseconds: int) -> str:
    if not milliseconds:
        return ""
    return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s"
