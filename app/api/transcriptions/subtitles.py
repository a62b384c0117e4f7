"""Subtitles of a transcript, as SubRip and as WebVTT. Pure.

**Source:** W3C WebVTT section 4 for the syntax; SubRip has no specification, players read
`HH:MM:SS,mmm` and know no escapes.
"""

import re
from collections.abc import Iterator, Sequence

from app.inference.transcript import HeardSegment

MILLISECONDS = 1000

_ARROW = re.compile("-+>")
"""Between the times of a cue; SubRip has no escape for it."""


def srt(segments: Sequence[HeardSegment]) -> str:
    """Write SubRip; without segments it is empty."""
    cues = _cues(segments, separator=",")
    return "".join(
        f"{number}\n{times}\n{_ARROW.sub('->', text)}\n\n"
        for number, (times, text) in enumerate(cues, 1)
    )


def vtt(segments: Sequence[HeardSegment]) -> str:
    """Write WebVTT; without segments it has its first line only."""
    cues = _cues(segments, separator=".")
    return "WEBVTT\n\n" + "".join(f"{times}\n{_escaped(text)}\n\n" for times, text in cues)


def timestamp(milliseconds: int, separator: str) -> str:
    """Write a time with hours of two digits at least."""
    seconds, rest = divmod(milliseconds, MILLISECONDS)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{separator}{rest:03}"


def _cues(segments: Sequence[HeardSegment], *, separator: str) -> Iterator[tuple[str, str]]:
    for segment in segments:
        start = round(segment.start * MILLISECONDS)
        # A cue must end after it begins.
        end = max(start + 1, round(segment.end * MILLISECONDS))
        # A line break would end the cue's line, an empty line the cue.
        text = " ".join(segment.text.split())
        yield f"{timestamp(start, separator)} --> {timestamp(end, separator)}", text


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
