"""What the service asks of a speech-to-text model: one window of audio at a time.

Times are seconds from the window's beginning; audio is (samples,) float32, mono, 16 kHz.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.engine.base import Engine, Run

Audio = NDArray[np.float32]
TranscriptionTask = Literal["transcribe", "translate"]


@dataclass(frozen=True, slots=True)
class Listening:
    """How audio is to be written down.

    `language` is an ISO-639-1 code of what is spoken; `context` is text that comes before.
    """

    task: TranscriptionTask
    language: str
    context: str = ""
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech; `tokens` are those of its text. `avg_logprob` is natural, a token."""

    start: float
    end: float
    text: str
    tokens: Sequence[int]
    avg_logprob: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What a window holds.

    `no_speech` is the model's probability that nobody speaks; `avg_logprob` that of all tokens,
    the end included. `is_cut` tells that the model did not come to an end.
    """

    segments: Sequence[Segment]
    no_speech: float
    avg_logprob: float
    prompt_tokens: int
    completion_tokens: int
    is_cut: bool = False

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Spoken:
    """The language that is spoken, by the model's probability."""

    language: str
    probability: float


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it is spoken; punctuation stays with it."""

    text: str
    start: float
    end: float


class TranscriptionEngine(Engine, Protocol):
    """One speech-to-text model."""

    @property
    def languages(self) -> Mapping[str, str]:
        """ISO-639-1 code -> English name of every language that may be asked for."""
        ...

    @property
    def window_seconds(self) -> float:
        """The longest audio that is heard at once."""
        ...

    @property
    def translates(self) -> bool:
        """Whether it can translate into English."""
        ...

    @property
    def aligns_words(self) -> bool:
        """Whether it tells when each word is spoken."""
        ...

    def check_context(self, text: str) -> None:
        """Refuse text that is too long to come before. Blocks. **Raises:** PromptTooLong."""
        ...

    async def detect(self, audio: Audio, run: Run) -> Spoken:
        """Tell the language. Cancelling aborts. **Raises:** EngineError."""
        ...

    async def hear(self, audio: Audio, how: Listening, run: Run) -> Heard:
        """Write one window down. Cancelling aborts. **Raises:** EngineError."""
        ...

    async def align(self, audio: Audio, how: Listening, heard: Heard) -> list[list[Word]]:
        """Tell when each word of each segment is spoken.

        Takes about as long as hearing; runs beside the engine. **Raises:** EngineError.
        """
        ...
