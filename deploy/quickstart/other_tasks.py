"""What the demo's server does besides chat: compares texts, speaks a sentence, and writes it down.

All through the Groq SDK, as an application would; one line of the demo's report for each.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path

from groq import Groq

from deploy.quickstart.minilm import NAME as EMBEDDING_MODEL
from deploy.quickstart.paths import ROOT
from deploy.quickstart.whisper import NAME as TRANSCRIPTION_MODEL

SPEECH_MODEL = "piper"
VOICE = "en_US-joe-medium"
TEXT = "A cat is sleeping on the sofa."
ALIKE = "A kitten naps on the couch."
UNLIKE = "The central bank raised interest rates."
SENTENCE = "Many small adapters can share the same large model."


@dataclass(frozen=True, slots=True)
class Similarities:
    """Cosines between the vectors of `TEXT` and those of the two others."""

    alike: float
    unlike: float


@dataclass(frozen=True, slots=True)
class Speech:
    """A spoken sentence: the file, and how many seconds after asking its first bytes arrived."""

    path: Path
    first_bytes_seconds: float


@dataclass(frozen=True, slots=True)
class OtherTasks:
    """What came of all three."""

    similarities: Similarities
    speech: Speech
    transcript: str


def run(client: Groq, path: Path) -> OtherTasks:
    """Do all three; the spoken sentence is left at `path`. Blocks for seconds."""
    similarities = _compare(client)
    speech = _speak(client, path)
    return OtherTasks(similarities, speech, _write_down(client, path))


def problems(done: OtherTasks) -> list[str]:
    """Return one sentence for each result that is not as it should be."""
    found = []
    if done.similarities.alike < done.similarities.unlike + 0.2:
        found.append(f"The embeddings do not tell texts apart: {done.similarities}")
    if _words(done.transcript) != _words(SENTENCE):
        found.append(f"The spoken sentence was written down as {done.transcript!r}")
    return found


def lines(done: OtherTasks) -> list[str]:
    """Return the report: one line a task."""
    alike, unlike = done.similarities.alike, done.similarities.unlike
    milliseconds = 1000 * done.speech.first_bytes_seconds
    path = done.speech.path.relative_to(ROOT)
    return [
        f"Embeddings: {TEXT!r} is {alike:.2f} like {ALIKE!r} and {unlike:.2f} like {UNLIKE!r}",
        f"Speech: {SENTENCE!r} is in {path}, first bytes after {milliseconds:.0f} ms",
        f"Transcription of that file: {done.transcript!r}",
    ]


def _compare(client: Groq) -> Similarities:
    answer = client.embeddings.create(model=EMBEDDING_MODEL, input=[TEXT, ALIKE, UNLIKE])
    text, alike, unlike = ([float(x) for x in item.embedding] for item in answer.data)
    return Similarities(_cosine(text, alike), _cosine(text, unlike))


def _speak(client: Groq, path: Path) -> Speech:
    started = time.perf_counter()
    speech = client.audio.speech.with_streaming_response
    first = 0.0
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        speech.create(
            model=SPEECH_MODEL, voice=VOICE, input=SENTENCE, response_format="wav"
        ) as answer,
        path.open("wb") as file,
    ):
        for chunk in answer.iter_bytes():
            first = first or time.perf_counter() - started
            file.write(chunk)
    return Speech(path, first)


def _write_down(client: Groq, path: Path) -> str:
    with path.open("rb") as file:
        return client.audio.transcriptions.create(model=TRANSCRIPTION_MODEL, file=file).text.strip()


def _cosine(a: list[float], b: list[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / (math.hypot(*a) * math.hypot(*b))


def _words(text: str) -> list[str]:
    return "".join(c for c in text.lower() if c.isalnum() or c.isspace()).split()
