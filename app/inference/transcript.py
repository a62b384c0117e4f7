"""What was said in a whole recording, put together from what was heard in its windows.

Times count from the recording's beginning and never leave the window that they were heard in: a
model pads a window with silence, and may tell of words there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.audio.types import SAMPLE_RATE
from app.audio.windows import Window
from app.engine.transcription import Segment, Word
from app.inference.hearing import Hearing, compression_ratio

SAMPLES_PER_FRAME = 160
"""Whisper counts `seek` in frames of 10 ms."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What one window holds; `words` are those of each segment, where they were asked for."""

    window: Window
    hearing: Hearing
    words: Sequence[Sequence[Word]] = ()

    def at(self, seconds: float) -> float:
        """Return when something is, of which the model says when in the window."""
        within = min(max(seconds, 0.0), len(self.window.samples) / SAMPLE_RATE)
        return self.window.start_seconds + within


@dataclass(frozen=True, slots=True)
class HeardSegment:
    """A stretch of speech in the recording, with how sure the model is of it."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: Sequence[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said. `language` is None where nobody speaks and none was given."""

    language: str | None
    duration: float
    text: str
    segments: Sequence[HeardSegment]
    words: Sequence[Word]


def put_together(language: str | None, duration: float, passages: Sequence[Passage]) -> Transcript:
    """Join what was heard in the windows, in their order; `duration` is the recording's."""
    spoken = [passage for passage in passages if not passage.hearing.is_silence]
    found = [(passage, each) for passage in spoken for each in _with_text(passage)]
    segments = [_placed(number, *each) for number, each in enumerate(found)]
    text = "".join(segment.text for segment in segments).strip()
    words = [word for passage in spoken for word in _words(passage)]
    return Transcript(language, duration, text, segments, words)


def _with_text(passage: Passage) -> list[Segment]:
    return [segment for segment in passage.hearing.heard.segments if segment.text.strip()]


def _placed(number: int, passage: Passage, segment: Segment) -> HeardSegment:
    start = passage.at(segment.start)
    return HeardSegment(
        id=number,
        seek=passage.window.start // SAMPLES_PER_FRAME,
        start=start,
        end=max(start, passage.at(segment.end)),
        text=segment.text,
        tokens=segment.tokens,
        temperature=passage.hearing.temperature,
        avg_logprob=segment.avg_logprob,
        compression_ratio=compression_ratio(segment.text),
        no_speech=passage.hearing.heard.no_speech,
    )


def _words(passage: Passage) -> Iterator[Word]:
    for words in passage.words:
        for word in words:
            if text := word.text.strip():
                start = passage.at(word.start)
                yield Word(text, start, max(start, passage.at(word.end)))
