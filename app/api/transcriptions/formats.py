"""What a transcript looks like on the wire, in each of the formats that can be asked for.

**Source:** GroqCloud OpenAPI v2.1, `CreateTranscriptionResponseVerboseJson` and its kin. `duration`
is a number as Groq sends and OpenAI's clients read it, though that schema says string.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema

from app.api.transcriptions.schemas import AudioForm, ResponseFormat
from app.api.transcriptions.subtitles import srt, vtt
from app.engine.transcription import TranscriptionTask, Word
from app.inference.transcript import HeardSegment, Transcript

TIME_DIGITS = 3

JSON = "application/json"


class RequestMark(BaseModel):
    """The request's id."""

    id: str


class Transcription(BaseModel):
    """What was said."""

    text: str
    x_groq: RequestMark


class TranscriptionSegment(BaseModel):
    """A stretch of speech. Times are in seconds, `seek` in hundredths of one."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float

    @classmethod
    def of(cls, segment: HeardSegment) -> "TranscriptionSegment":
        """Build it."""
        return cls(
            id=segment.id,
            seek=segment.seek,
            start=round(segment.start, TIME_DIGITS),
            end=round(segment.end, TIME_DIGITS),
            text=segment.text,
            tokens=list(segment.tokens),
            temperature=segment.temperature,
            avg_logprob=segment.avg_logprob,
            compression_ratio=segment.compression_ratio,
            no_speech_prob=segment.no_speech,
        )


class TranscriptionWord(BaseModel):
    """A word, and when it is spoken, in seconds."""

    word: str
    start: float
    end: float

    @classmethod
    def of(cls, word: Word) -> "TranscriptionWord":
        """Build it."""
        start, end = round(word.start, TIME_DIGITS), round(word.end, TIME_DIGITS)
        return cls(word=word.text, start=start, end=end)


class VerboseTranscription(BaseModel):
    """What was said, when, and how sure the model is. `duration` is the audio's, in seconds.

    `language` is its English name in lower case, of a translation `english`; `unknown` where
    nobody speaks and none was given. Write it without what is None.
    """

    task: TranscriptionTask
    language: str
    duration: float
    text: str
    segments: list[TranscriptionSegment] | SkipJsonSchema[None] = None
    words: list[TranscriptionWord] | SkipJsonSchema[None] = None
    x_groq: RequestMark


@dataclass(frozen=True, slots=True)
class Written:
    """The body of an answer."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked, and what was said; `language` is a name."""

    request_id: str
    task: TranscriptionTask
    form: AudioForm
    language: str
    transcript: Transcript

    def written(self) -> Written:
        """Write it in the format that was asked for."""
        kind: ResponseFormat = self.form.response_format
        if kind == "json":
            return _json(Transcription(text=self.transcript.text, x_groq=self._x_groq))
        if kind == "verbose_json":
            return _json(self._verbose())
        if kind == "srt":
            return Written(srt(self.transcript.segments).encode(), "text/plain")
        if kind == "vtt":
            return Written(vtt(self.transcript.segments).encode(), "text/vtt")
        return Written(self.transcript.text.encode(), "text/plain")

    @property
    def _x_groq(self) -> RequestMark:
        return RequestMark(id=self.request_id)

    def _verbose(self) -> VerboseTranscription:
        form, transcript = self.form, self.transcript
        return VerboseTranscription(
            task=self.task,
            language=self.language,
            duration=round(transcript.duration, TIME_DIGITS),
            text=transcript.text,
            segments=_segments(transcript.segments) if form.wants_segments else None,
            words=_words(transcript.words) if form.wants_words else None,
            x_groq=self._x_groq,
        )


def _segments(segments: Sequence[HeardSegment]) -> list[TranscriptionSegment]:
    return [TranscriptionSegment.of(segment) for segment in segments]


def _words(words: Sequence[Word]) -> list[TranscriptionWord]:
    return [TranscriptionWord.of(word) for word in words]


def _json(answer: BaseModel) -> Written:
    return Written(answer.model_dump_json(exclude_none=True).encode(), JSON)
