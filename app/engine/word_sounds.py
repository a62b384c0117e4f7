"""Words moved to where the sound is: attention tells which pause lies between two words, but not
when exactly it begins and ends.

A border between words that lies in a pause, or close to one, becomes that pause. Where the audio
has no pauses (music, noise), all stays as it is. Plain energy, numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.engine.transcription import Audio

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 160
SECONDS_PER_FRAME = FRAME_SAMPLES / SAMPLE_RATE

# Shorter ones are the closures of p, t and k inside words.
SHORTEST_PAUSE_SECONDS = 0.08
REACH_SECONDS = 0.15

# A pause is this far below loud speech, and this far above the noise of the room at most.
BELOW_SPEECH_DB = 35.0
ABOVE_NOISE_DB = 8.0
LEAST_CONTRAST_DB = 15.0
LOWEST_DB = -100.0


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when, in seconds."""

    start: float
    end: float

    def distance(self, moment: float) -> float:
        return max(self.start - moment, moment - self.end, 0.0)


def fitted(words: Sequence[Span], audio: Audio) -> list[Span]:
    """Return the words' spans in order, none over the next, within the audio.

    `words` follow each other without a gap; `audio` is (samples,) float32 at 16 kHz.
    """
    if not words:
        return []
    borders = [words[0].start, *(word.end for word in words)]
    taken = _taken(borders, pauses(audio))
    parted = [taken.get(place, Span(at, at)) for place, at in enumerate(borders)]
    spans: list[Span] = []
    latest, seconds = 0.0, len(audio) / SAMPLE_RATE
    for before, after in pairwise(parted):
        start = min(max(before.end, latest), seconds)
        latest = min(max(after.start, start), seconds)
        spans.append(Span(start, latest))
    return spans


def pauses(audio: Audio) -> list[Span]:
    """Return where nothing is heard for long enough to part two words."""
    loudness = _loudness(audio)
    if not len(loudness):
        return []
    noise, speech = np.percentile(loudness, [10, 95])
    if speech - noise < LEAST_CONTRAST_DB:
        return []
    is_quiet = loudness < max(speech - BELOW_SPEECH_DB, noise + ABOVE_NOISE_DB)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_quiet, [False]))))
    found = (Span(a, b) for a, b in (edges.reshape(-1, 2) * SECONDS_PER_FRAME).tolist())
    return [pause for pause in found if pause.end - pause.start >= SHORTEST_PAUSE_SECONDS]


def _loudness(audio: Audio) -> NDArray[np.float64]:
    """Return (frames,) decibels; a last part of a frame is left out."""
    frames = len(audio) // FRAME_SAMPLES
    squared = np.square(audio[: frames * FRAME_SAMPLES], dtype=np.float64)
    power = squared.reshape(frames, FRAME_SAMPLES).mean(axis=1)
    loudness: NDArray[np.float64] = 10 * np.log10(np.maximum(power, 10 ** (LOWEST_DB / 10)))
    return loudness


def _taken(borders: Sequence[float], found: Sequence[Span]) -> dict[int, Span]:
    """Give each border the pause next to it; a pause goes to its nearest border only."""
    taken: dict[int, Span] = {}
    for pause in found:
        distances = [pause.distance(border) for border in borders]
        place = int(np.argmin(distances))
        if distances[place] > REACH_SECONDS:
            continue
        held = taken.get(place)
        if held is None or held.distance(borders[place]) > distances[place]:
            taken[place] = pause
    return taken
