"""Requests to text-to-speech models: a text becomes pieces of sound."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from app.engine.base import EngineError, PromptRefused, Usage
from app.engine.job_text import CHARACTERS_PER_TOKEN
from app.engine.speech import Sound, SpeechEngine, SpeechJob, SpeechPrompt
from app.errors import invalid_request, shortened
from app.inference.serving import Served
from app.usage.types import Amounts

LISTED_CHARACTERS = 1_024
"""Most of the names of voices that an error lists."""


class Speaking(Served):
    """A text-to-speech model, opened to one request."""

    task = "speech"
    field = "input"
    _characters = 0

    @property
    def sample_rate(self) -> int:
        """Of the sounds, in Hz."""
        return self._engine.sample_rate

    async def prepare(self, text: str, voice: str) -> SpeechPrompt:
        """Check a text and its voice, and reserve tokens; once in a request.

        **Raises:** ApiError: the text is too long, the voice unknown, a limit reached.
        """
        self._check_length(text)
        self._check_voice(voice)
        with self.preparing(len(text) // CHARACTERS_PER_TOKEN):
            prompt = await self._engine.prepare(SpeechJob(text, voice, self.cache_salt))
        await self.reserve(prompt.tokens + prompt.max_tokens)
        self._characters = len(text)
        return prompt

    async def speak(self, prompt: SpeechPrompt) -> AsyncGenerator[Sound, None]:
        """Yield the sounds as they are made, at least one. To be closed; closing aborts.

        The place and the adapter are held until the last one. **Raises:** ApiError.
        """
        async with self.running(prompt.tokens) as run:
            # The engine's contract lets its iterator be closed, which AsyncIterator cannot say.
            sounds = cast(AsyncGenerator[Sound, None], self._engine.speak(prompt, run))
            # Closed here: left to the garbage collector, it would count after the settlement.
            async with aclosing(sounds), aclosing(self._metered(prompt, sounds)) as metered:
                async for sound in metered:
                    yield sound

    @property
    def _engine(self) -> SpeechEngine:
        return cast(SpeechEngine, self._model.engine)

    def _check_length(self, text: str) -> None:
        most = self._engine.max_characters
        if len(text) > most:
            message = (
                f"'input' : this model speaks at most {most} characters in one request, "
                f"and there are {len(text)}"
            )
            raise invalid_request(message, param="input")

    def _check_voice(self, voice: str) -> None:
        voices = self._engine.voices
        if voice not in voices:
            names = shortened(", ".join(voices), LISTED_CHARACTERS)
            message = f"'voice' : `{shortened(voice)}` is not one of this model's voices [{names}]"
            raise invalid_request(message, param="voice")

    async def _metered(
        self, prompt: SpeechPrompt, sounds: AsyncGenerator[Sound, None]
    ) -> AsyncGenerator[Sound, None]:
        tokens = samples = 0
        finished = failed = False
        try:
            async for sound in sounds:
                if not samples and len(sound.samples):
                    seconds = time.perf_counter() - self._started
                    self._first_token(seconds)
                tokens += sound.tokens
                samples += len(sound.samples)
                yield sound
            finished = True
        except EngineError:
            failed = True
            raise
        finally:
            if not failed:
                self._use(self._amounts(prompt.tokens, tokens, samples))
            self._tell(prompt.tokens, tokens, finished=finished)
            self._ports.observer.spoken(self.card.id, samples / self.sample_rate)
        if not samples:
            # Made by the model, whose weights may be the caller's, it is paid for.
            raise PromptRefused("No speech could be made of this input.")

    def _amounts(self, prompt_tokens: int, tokens: int, samples: int) -> Amounts:
        return Amounts(
            prompt_tokens=prompt_tokens,
            completion_tokens=tokens,
            input_characters=self._characters,
            output_audio_ms=round(samples * 1000 / self.sample_rate),
        )

    def _tell(self, prompt_tokens: int, tokens: int, *, finished: bool) -> None:
        label, observer = self.card.id, self._ports.observer
        if finished:
            observer.generated(label, Usage(prompt_tokens, tokens, 0, 0.0, 0.0, 0.0))
        else:
            observer.abandoned(label, prompt_tokens, tokens)
