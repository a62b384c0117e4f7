"""From the tokens of one window to what was said when; holds no model.

A model is asked for stamps around every stretch of speech, but may leave the last one open, or say
times beyond the window. Speech without an end ends with the window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.engine.transcription import Segment
from app.engine.whisper_tokens import WhisperText, WhisperTokens


@dataclass(frozen=True, slots=True)
class Token:
    """A token of an answer, and its natural logarithm of probability."""

    id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """Text tokens between two stamps; `end` is None where the answer ends before the stamp."""

    start: float
    end: float | None
    text: Sequence[int]
    logprobs: Sequence[float]


def segments(
    answer: Sequence[Token], tokens: WhisperTokens, text: WhisperText, seconds: float
) -> list[Segment]:
    """Return what is said in a window of `seconds`, in order, within it; nothing empty."""
    found = (
        Segment(
            start=min(stretch.start, seconds),
            end=min(seconds if stretch.end is None else stretch.end, seconds),
            text=text.decode(stretch.text),
            tokens=tuple(stretch.text),
            avg_logprob=mean(stretch.logprobs),
        )
        for stretch in _stretches(answer, tokens)
    )
    return [segment for segment in found if segment.text.strip()]


def mean(values: Sequence[float]) -> float:
    """Return the mean; of nothing it is 0."""
    return sum(values) / len(values) if values else 0.0


def _stretches(answer: Sequence[Token], tokens: WhisperTokens) -> Iterator[Stretch]:
    """Cut the answer at its stamps. A stretch's probability is that of its stamps as well."""
    start = 0.0
    text: list[int] = []
    logprobs: list[float] = []
    for token in answer:
        if not tokens.is_stamp(token.id):
            # Control tokens are no text; the end is the only one that the rules let through.
            if token.id < tokens.end:
                text.append(token.id)
                logprobs.append(token.logprob)
            continue
        moment = max(tokens.seconds(token.id), start)
        if text:
            yield Stretch(start, moment, text, [*logprobs, token.logprob])
        start, text = moment, []
        logprobs = [token.logprob]
    if text:
        yield Stretch(start, None, text, logprobs)
