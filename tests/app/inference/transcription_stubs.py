"""A scripted speech-to-text engine, recordings that it can tell apart, and inference round it."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from app.audio.types import SAMPLE_RATE, Audio
from app.engine.base import EngineError, Run
from app.engine.transcription import Heard, Listening, Segment, Spoken, Word
from tests.app.inference.stubs import CARD, Surroundings

LANGUAGES = {"en": "English", "de": "German", "fr": "French"}
STEP_SECONDS = 4.0
"""From the beginning of one burst of a recording to that of the next."""
MARGIN_SECONDS = 0.4
"""What a window has of the silence before its burst."""


def silence(seconds: float) -> Audio:
    """Make digital silence."""
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def recording(*bursts: int) -> Audio:
    """Make a second of sound for each number, 1 to 9, with three of silence after it.

    Each is a window of its own; how loud it is tells the engine its number.
    """
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * 440 * times)
    pieces = [((0.5 + burst / 20) * tone).astype(np.float32) for burst in bursts]
    return np.concatenate([half for piece in pieces for half in (piece, silence(3))])


def said(text: str = " hello", **changes: object) -> Heard:
    """Make what the model is sure to have heard, as one segment."""
    segments = [Segment(0.5, 1.0, text, (7, 8), -0.25)] if text else []
    heard = Heard(segments, 0.01, -0.3, prompt_tokens=5, completion_tokens=3)
    return replace(heard, **changes)  # type: ignore[arg-type]


class StubListener:
    """Hears the number of a burst, or what it was told to have heard there, one after another."""

    adapters = None
    languages = LANGUAGES
    window_seconds = 30.0

    def __init__(self) -> None:
        self.card = replace(CARD, task="transcription")
        self.translates = True
        self.aligns_words = True
        self.answers: dict[int, Sequence[Heard | EngineError]] = {}
        self.spoken = Spoken("de", 0.9)
        self.context_refusal: EngineError | None = None
        self.gate: asyncio.Event | None = None
        self.pauses: Iterator[int] = itertools.repeat(0)
        self.heard: list[tuple[int, Listening]] = []
        self.aligned: list[tuple[int, Listening]] = []
        self.detected: list[int] = []
        self.contexts: list[str] = []
        self.runs: list[Run] = []
        self.waiting = asyncio.Event()
        self.running = self.most_running = self.aborted = 0

    def check_context(self, text: str) -> None:
        self.contexts.append(text)
        if self.context_refusal is not None:
            raise self.context_refusal

    async def detect(self, audio: Audio, run: Run) -> Spoken:
        self.detected.append(_number(audio))
        self.runs.append(run)
        return self.spoken

    async def hear(self, audio: Audio, how: Listening, run: Run) -> Heard:
        number = _number(audio)
        asked = sum(1 for each, _ in self.heard if each == number)
        self.heard.append((number, how))
        self.runs.append(run)
        await self._work()
        answers = self.answers.get(number, [said(f" {number}")])
        answer = answers[min(asked, len(answers) - 1)]
        if isinstance(answer, EngineError):
            raise answer
        return answer

    async def align(self, audio: Audio, how: Listening, heard: Heard) -> list[list[Word]]:
        self.aligned.append((_number(audio), how))
        return [_words(segment) for segment in heard.segments]

    async def _work(self) -> None:
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            for _ in range(next(self.pauses)):
                await asyncio.sleep(0)
            if self.gate is not None:
                self.waiting.set()
                await self.gate.wait()
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        finally:
            self.running -= 1

    async def probe(self, run: Run) -> None:
        self.runs.append(run)

    async def check(self) -> None:
        return None


def _number(audio: Audio) -> int:
    return round((float(np.abs(audio).max()) - 0.5) * 20)


def _words(segment: Segment) -> list[Word]:
    texts = segment.text.split()
    length = (segment.end - segment.start) / max(1, len(texts))
    starts = [segment.start + number * length for number in range(len(texts))]
    return [
        Word(f" {text}", start, start + length) for text, start in zip(texts, starts, strict=True)
    ]


class TranscriptionRig(Surroundings):
    """Inference with a scripted engine."""

    def __init__(self) -> None:
        self.engine = StubListener()
        super().__init__(self.engine)
