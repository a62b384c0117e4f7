"""What the service asks of a text-to-speech model: text in, audio out as it is made."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.engine.base import Engine, Run

Audio = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SpeechJob:
    """A text to be spoken by one of the model's voices."""

    text: str
    voice: str
    cache_salt: str


class SpeechPrompt(Protocol):
    """A job as its engine will run it; of use to the engine that prepared it only."""

    @property
    def tokens(self) -> int:
        """Tokens of the prompt; 0 where the model has none."""
        ...

    @property
    def max_tokens(self) -> int:
        """How many tokens may be generated; 0 where the model has none."""
        ...


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of the answer: (samples,) float32, mono, -1 to 1, at the engine's sample rate.

    `tokens` is how many were generated for it.
    """

    samples: Audio
    tokens: int = 0


class SpeechEngine(Engine, Protocol):
    """One text-to-speech model, with its adapters where it can have any."""

    @property
    def voices(self) -> Sequence[str]: ...

    @property
    def max_characters(self) -> int:
        """The longest text that is spoken in one request."""
        ...

    @property
    def sample_rate(self) -> int:
        """Of the audio, in Hz."""
        ...

    async def prepare(self, job: SpeechJob) -> SpeechPrompt:
        """Check a job; takes nothing from the engine yet.

        **Raises:** PromptTooLong, PromptRefused, EngineOverloaded.
        """
        ...

    def speak(self, prompt: SpeechPrompt, run: Run) -> AsyncIterator[Sound]:
        """Speak, once for each prompt; the first piece comes long before the last is made.

        There is one at least; all are empty where the model made no sound of the text.
        Closing or cancelling aborts it. **Raises:** EngineError.
        """
        ...
