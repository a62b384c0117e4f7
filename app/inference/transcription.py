"""A request to a speech-to-text model: a recording becomes what is said in it.

The model hears one window at a time, so a recording is cut where nobody speaks. What is silent
throughout is not given to the model, which would make words up.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import cast

from app.audio.types import SAMPLE_RATE, Audio
from app.audio.windows import Window, split
from app.engine.base import Run, Usage
from app.engine.transcription import Heard, Listening, TranscriptionEngine, TranscriptionTask
from app.inference.hearing import heard_well
from app.inference.serving import Served
from app.inference.transcript import Passage, Transcript, put_together
from app.usage.types import Amounts

SHARE = 4
"""One request runs at most this part, a quarter, of what its engine runs at once."""

LEAST_SECONDS = 10.0
"""What a request counts for at least. **Source:** GroqCloud documentation, speech to text."""


@dataclass(frozen=True, slots=True)
class Dictation:
    """How a recording is to be written down.

    `language` None has it told by the model. `context` is text in whose style it is written, such
    as names that are spoken; every window gets it.
    """

    task: TranscriptionTask = "transcribe"
    language: str | None = None
    context: str = ""
    temperature: float = 0.0
    wants_words: bool = False


class Transcribing(Served):
    """A speech-to-text model, opened to one request."""

    task = "transcription"
    field = "prompt"

    @property
    def languages(self) -> Mapping[str, str]:
        """ISO-639-1 code -> English name of every language that may be asked for."""
        return self._engine.languages

    @property
    def translates(self) -> bool:
        """Whether it can translate into English."""
        return self._engine.translates

    @property
    def aligns_words(self) -> bool:
        """Whether it tells when each word is spoken."""
        return self._engine.aligns_words

    async def check_context(self, text: str) -> None:
        """Refuse a context that the model has no room for. **Raises:** ApiError 400."""
        if text:
            with self._in_words():
                await asyncio.to_thread(self._engine.check_context, text)

    async def transcribe(self, audio: Audio, how: Dictation) -> Transcript:
        """Write a recording down; once in a request. Cancelling aborts all that runs.

        Its seconds are taken from the limits first, and given back where the service fails.
        **Raises:** ApiError.
        """
        seconds = len(audio) / SAMPLE_RATE
        async with self.charging_seconds(max(seconds, LEAST_SECONDS)):
            self._ports.observer.heard(self.card.id, seconds)
            self._use(Amounts(input_audio_ms=round(seconds * 1000)))
            return await self._written_down(audio, seconds, how)

    async def _written_down(self, audio: Audio, seconds: float, how: Dictation) -> Transcript:
        """Hold one place for all windows, of which a bounded number is heard at a time."""
        windows = await asyncio.to_thread(split, audio, max_seconds=self._engine.window_seconds)
        if not windows:
            return put_together(how.language, seconds, [])
        at_once = min(len(windows), max(1, self.card.max_running // SHARE))
        async with self.running(self.card.context_window * at_once) as run:
            listener = _Listener(self._engine, run, self._count)
            language = how.language or await listener.language(windows[0])
            listening = Listening(how.task, language, how.context, how.temperature)
            passages = await listener.passages(windows, listening, how.wants_words, at_once)
        # An hour of speech takes tens of milliseconds to put together.
        return await asyncio.to_thread(put_together, language, seconds, passages)

    @property
    def _engine(self) -> TranscriptionEngine:
        return cast(TranscriptionEngine, self._model.engine)

    @property
    def _charged_tokens(self) -> int:
        """None: what it is charged for are seconds."""
        return 0

    def _count(self, heard: Heard) -> None:
        usage = Usage(heard.prompt_tokens, heard.completion_tokens, 0, 0.0, 0.0, 0.0)
        self._ports.observer.generated(self.card.id, usage)
        amounts = Amounts(
            prompt_tokens=heard.prompt_tokens, completion_tokens=heard.completion_tokens
        )
        self._use(amounts)


class _Listener:
    """Hears the windows of one recording; each call of the engine is a part of the run."""

    def __init__(
        self, engine: TranscriptionEngine, run: Run, told: Callable[[Heard], None]
    ) -> None:
        self._engine = engine
        self._parts = map(run.part, count())
        self._told = told

    async def language(self, window: Window) -> str:
        spoken = await self._engine.detect(window.samples, next(self._parts))
        return spoken.language

    async def passages(
        self, windows: Sequence[Window], how: Listening, wants_words: bool, at_once: int
    ) -> list[Passage]:
        turns = asyncio.Semaphore(at_once)

        async def one(window: Window) -> Passage:
            async with turns:
                return await self._passage(window, how, wants_words)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(window)) for window in windows]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _passage(self, window: Window, how: Listening, wants_words: bool) -> Passage:
        async def hear(temperature: float) -> Heard:
            warm = replace(how, temperature=temperature)
            heard = await self._engine.hear(window.samples, warm, next(self._parts))
            self._told(heard)
            return heard

        hearing = await heard_well(hear, how.temperature)
        if not wants_words or hearing.is_silence or not hearing.heard.text.strip():
            return Passage(window, hearing)
        warm = replace(how, temperature=hearing.temperature)
        words = await self._engine.align(window.samples, warm, hearing.heard)
        return Passage(window, hearing, words)
