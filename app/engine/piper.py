"""Text to speech with Piper: its voices, and a process that speaks with them.

Piper is never imported here. A process that has died takes the requests in flight with it, and the
engine stays dead. Voices of one model have one sample rate. There are no adapters.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import numpy as np

from app.catalog import ModelSpec, SpeechSpec
from app.engine.base import (
    EngineDead,
    EngineStartError,
    ModelCard,
    Run,
)
from app.engine.fingerprint import fingerprint
from app.engine.metrics import EngineMetrics
from app.engine.piper_process import PiperProcess, WorkerSettings, WorkerUnusable
from app.engine.speech import Sound, SpeechJob, SpeechPrompt
from app.engine.speech_text import speakable
from app.engine.speech_voices import VoiceNames

THREADS = 1
"""Cores for one text: two texts on two cores take less time than one after the other on both."""

MOST_RUNNING = 8
RUN_SECONDS = 30.0
SILENCE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice's file, the rate of its audio in Hz, and what tells it from others."""

    path: Path
    sample_rate: int
    identity: str


@dataclass(frozen=True, slots=True)
class PiperPrompt:
    """A text that can be spoken, and by which voice."""

    text: str
    voice: str
    tokens: int = 0
    max_tokens: int = 0


class PiperEngine:
    """Implements app.engine.speech.SpeechEngine. Made by `start`, ended by `close`."""

    adapters = None

    def __init__(
        self,
        card: ModelCard,
        voices: Mapping[str, Voice],
        names: VoiceNames,
        process: PiperProcess,
    ) -> None:
        self._card = card
        self._voices = voices
        self._names = names
        self._process = process

    @classmethod
    async def start(cls, spec: ModelSpec, metrics: EngineMetrics) -> Self:
        """Find the voices of one catalog entry and load them; Piper tells no metrics.

        **Raises:** EngineStartError, naming the model.
        """
        assert spec.speech is not None, "the catalog gives every speech model its block"
        voices = await asyncio.to_thread(_voices, spec, spec.speech)
        card = _card(spec, spec.speech, voices)
        paths = {name: str(voice.path) for name, voice in voices.items()}
        settings = WorkerSettings(paths, card.max_running, THREADS, RUN_SECONDS)
        names = _names(spec, spec.speech, voices)
        try:
            process = await PiperProcess.start(settings)
        except WorkerUnusable as error:
            raise EngineStartError(_why(spec, error)) from error
        except OSError as error:
            message = f"model {spec.id}: Piper's process cannot be started: {error.strerror}"
            raise EngineStartError(message) from error
        return cls(card, voices, names, process)

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def voices(self) -> Sequence[str]:
        """Their names, aliases among them."""
        return self._names.names

    @property
    def max_characters(self) -> int:
        return self._card.context_window

    @property
    def sample_rate(self) -> int:
        """Of every voice, in Hz."""
        return next(iter(self._voices.values())).sample_rate

    async def prepare(self, job: SpeechJob) -> PiperPrompt:
        """Check voice and text. **Raises:** PromptTooLong, PromptRefused."""
        voice = self._names.voice(job.voice)
        text = speakable(job.text, self.max_characters)
        return PiperPrompt(_without_phonemes(text), voice)

    async def speak(self, prompt: SpeechPrompt, run: Run) -> AsyncIterator[Sound]:
        """Speak a text, sentence by sentence; silence, where it turns out to have no sound.

        Closing or cancelling stops it within a sentence. **Raises:** EngineDead, EngineError.
        """
        assert isinstance(prompt, PiperPrompt), "an engine runs what it prepared itself"
        is_silent = True
        async with aclosing(self._process.speak(prompt.voice, prompt.text)) as parts:
            async for part in parts:
                is_silent = False
                yield Sound(part.samples)
        if is_silent:
            yield Sound(np.zeros(int(SILENCE_SECONDS * self.sample_rate), np.float32))

    async def probe(self, run: Run) -> None:
        """Speak a word. **Raises:** EngineError."""
        voice = next(iter(self._voices))
        async for _ in self.speak(PiperPrompt("Yes.", voice), run):
            pass

    async def check(self) -> None:
        """Return when the process is alive. **Raises:** EngineDead."""
        if not self._process.is_alive:
            raise EngineDead("the process of Piper has ended")

    async def close(self) -> None:
        """End the process; what it speaks is lost."""
        await self._process.close()


def _running() -> int:
    """Return how many texts are spoken at once: other models need the cores as well."""
    return max(2, min(MOST_RUNNING, len(os.sched_getaffinity(0)) // 4))


def _voices(spec: ModelSpec, speech: SpeechSpec) -> dict[str, Voice]:
    """Read what there is in the source directory. Blocks. **Raises:** EngineStartError."""
    directory = Path(spec.source)
    if not directory.is_dir():
        raise EngineStartError(f"model {spec.id}: source: Piper's voices lie in a local directory")
    names = speech.voices or sorted(path.stem for path in directory.glob("*.onnx"))
    if not names:
        raise EngineStartError(f"model {spec.id}: source: {directory} has no *.onnx file")
    voices = {name: _voice(spec.id, directory / f"{name}.onnx") for name in names}
    rates = sorted({voice.sample_rate for voice in voices.values()})
    if len(rates) > 1:
        told = ", ".join(f"{name}: {voice.sample_rate} Hz" for name, voice in voices.items())
        message = f"model {spec.id}: its voices differ in sample rate ({told}); name those of one"
        raise EngineStartError(f"{message} rate under speech.voices, the others in another model")
    return voices


def _names(spec: ModelSpec, speech: SpeechSpec, voices: Mapping[str, Voice]) -> VoiceNames:
    try:
        return VoiceNames(tuple(voices), speech.aliases)
    except ValueError as error:
        raise EngineStartError(f"model {spec.id}: {error}") from error


def _voice(model: str, path: Path) -> Voice:
    where = f"model {model}: voice {path.stem}"
    if not path.is_file():
        raise EngineStartError(f"{where}: no file {path}")
    try:
        content = Path(f"{path}.json").read_bytes()
        config: Any = json.loads(content)
        rate = config["audio"]["sample_rate"]
    except OSError as error:
        raise EngineStartError(f"{where}: {path}.json: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise EngineStartError(f"{where}: {path}.json is not a Piper voice's") from error
    if not isinstance(rate, int) or not 8_000 <= rate <= 192_000:
        raise EngineStartError(f"{where}: {path}.json: audio.sample_rate is not a rate in Hz")
    identity = f"{hashlib.sha256(content).hexdigest()} {path.stat().st_size}"
    return Voice(path.resolve(), rate, identity)


def _without_phonemes(text: str) -> str:
    """Keep two opening brackets apart, which Piper takes for the beginning of phonemes."""
    while "[[" in text:
        text = text.replace("[[", "[ [")
    return text


def _version() -> str:
    try:
        return metadata.version("piper-tts")
    except metadata.PackageNotFoundError:
        return "unknown"


def _why(spec: ModelSpec, error: WorkerUnusable) -> str:
    if error.is_missing:
        needed = "install the extra `lora-inference-api[piper]`"
        return f"model {spec.id}: Piper is not installed ({error}); {needed}"
    return f"model {spec.id}: Piper cannot use its voices: {error}"


def _card(spec: ModelSpec, speech: SpeechSpec, voices: Mapping[str, Voice]) -> ModelCard:
    arguments = {"voices": {name: voice.identity for name, voice in voices.items()}}
    return ModelCard(
        id=spec.id,
        owned_by=spec.owned_by,
        context_window=speech.max_characters,
        max_completion_tokens=speech.max_characters,
        # A directory is known by its voices, wherever it lies.
        fingerprint=fingerprint("piper", spec.revision, _version(), arguments),
        max_running=_running(),
        tells_logprobs=False,
        task=spec.task,
    )
