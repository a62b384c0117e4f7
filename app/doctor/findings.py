"""What a look at a deployment comes to."""

from typing import Literal, NamedTuple

Level = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """What was seen of one part; anything but "ok" says what to do about it."""

    level: Level
    part: str
    text: str


def ok(part: str, text: str) -> Finding:
    return Finding("ok", part, text)


def warning(part: str, text: str) -> Finding:
    return Finding("warning", part, text)


def problem(part: str, text: str) -> Finding:
    return Finding("problem", part, text)
