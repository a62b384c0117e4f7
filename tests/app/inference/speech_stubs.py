"""A scripted text-to-speech engine, and inference round it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.engine.base import EngineDead, EngineError, Run
from app.engine.speech import Sound, SpeechJob, SpeechPrompt
from tests.app.inference.stubs import CARD, Surroundings

RATE = 24_000
VOICES = ("troy", "hannah")
MAX_CHARACTERS = 200


def sound(seconds: float = 0.1, *, tokens: int = 0, hertz: float = 440.0) -> Sound:
    """Make a tone."""
    times = np.arange(int(seconds * RATE)) / RATE
    return Sound((0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32), tokens)


@dataclass(frozen=True)
class StubSpeechPrompt:
    """A job that counts as checked."""

    tokens: int
    max_tokens: int


class StubSpeechEngine:
    """Plays a script: sounds to yield, errors to raise, events to wait for."""

    adapters = None
    voices = VOICES
    max_characters = MAX_CHARACTERS
    sample_rate = RATE

    def __init__(self) -> None:
        self.card = replace(CARD, task="speech")
        self.script: Sequence[Sound | Exception | asyncio.Event] = []
        self.prompt = StubSpeechPrompt(0, 0)
        self.refusal: EngineError | None = None
        self.jobs: list[SpeechJob] = []
        self.runs: list[Run] = []
        self.running = 0
        self.waiting = asyncio.Event()

    async def prepare(self, job: SpeechJob) -> StubSpeechPrompt:
        self.jobs.append(job)
        if self.refusal is not None:
            raise self.refusal
        return self.prompt

    async def speak(self, prompt: SpeechPrompt, run: Run) -> AsyncGenerator[Sound, None]:
        self.runs.append(run)
        self.running += 1
        try:
            for step in self.script:
                if isinstance(step, Sound):
                    yield step
                elif isinstance(step, asyncio.Event):
                    self.waiting.set()
                    await step.wait()
                else:
                    raise step
        finally:
            self.running -= 1

    async def probe(self, run: Run) -> None:
        raise EngineDead

    async def check(self) -> None:
        return None


class SpeechRig(Surroundings):
    """Inference with a scripted engine."""

    def __init__(self) -> None:
        self.engine = StubSpeechEngine()
        super().__init__(self.engine)
