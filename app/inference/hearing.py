"""How one window is heard: Whisper's rules for what is silence and what must be heard again.

The model is asked at the temperature that is wanted. Where that is 0 and the text repeats itself or
is unlikely by its own measure, it is asked again, warmer each time.

**Source:** openai/whisper, `transcribe.py`: thresholds and temperatures.
"""

import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.engine.transcription import Heard

REPEATING = 2.4
"""A text that is compressed better than this says the same over and over."""
UNLIKELY = -1.0
"""A mean log probability of tokens, below which the model guesses."""
NOBODY_SPEAKS = 0.6
WARMER = (0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Hearing:
    """What was heard at a temperature."""

    heard: Heard
    temperature: float

    @property
    def is_silence(self) -> bool:
        """Whether the model made the text up, as it does where nobody speaks.

        In noise it also falls into one sentence over and over, and finds that likely.
        """
        made_up = self._is_unlikely or self.is_repeating
        return self.heard.no_speech > NOBODY_SPEAKS and made_up

    @property
    def is_repeating(self) -> bool:
        return compression_ratio(self.heard.text) > REPEATING

    @property
    def is_good(self) -> bool:
        """Whether it can be kept as it is; silence can."""
        return self.is_silence or not (self.is_repeating or self._is_unlikely)

    @property
    def _is_unlikely(self) -> bool:
        return self.heard.avg_logprob < UNLIKELY


def compression_ratio(text: str) -> float:
    """Return how much shorter zlib makes a text; 0 where there is none."""
    written = text.encode()
    return len(written) / len(zlib.compress(written))


async def heard_well(hear: Callable[[float], Awaitable[Heard]], temperature: float) -> Hearing:
    """Ask at a temperature, and at 0 again while the answer is bad. Raises what `hear` raises.

    Where none is good, it is the likeliest of those that do not repeat themselves, or of all.
    """
    hearings = []
    for degrees in (temperature, *(() if temperature else WARMER)):
        hearing = Hearing(await hear(degrees), degrees)
        if hearing.is_good:
            return hearing
        hearings.append(hearing)
    return max(hearings, key=lambda each: (not each.is_repeating, each.heard.avg_logprob))
