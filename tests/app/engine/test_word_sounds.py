"""Borders between words are moved to the pauses that they stand at, on tones of known times."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.transcription import Audio
from app.engine.word_sounds import SAMPLE_RATE, Span, fitted, pauses

SOUNDS = (Span(0.5, 1.0), Span(1.3, 1.9), Span(2.4, 2.8))


def tones(sounds: Sequence[Span], seconds: float = 3.2, noise: float = 0.0) -> Audio:
    moments = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sounding = sum(((moments >= span.start) & (moments < span.end)) for span in sounds)
    hiss = np.random.default_rng(0).standard_normal(len(moments)) * noise
    return (0.3 * np.sin(2 * np.pi * 220 * moments) * sounding + hiss).astype(np.float32)


def near(spans: Sequence[Span], expected: Sequence[Span]) -> bool:
    times = [(span.start, span.end) for span in spans]
    return np.allclose(times, [(span.start, span.end) for span in expected], atol=0.021)


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.005])
def test_words_are_where_their_sound_is(noise: float):
    words = [Span(0.0, 1.1), Span(1.1, 2.0), Span(2.0, 3.0)]
    assert near(fitted(words, tones(SOUNDS, noise=noise)), SOUNDS)


def test_a_border_beside_a_pause_becomes_that_pause():
    words = [Span(0.0, 0.9), Span(0.9, 2.5), Span(2.5, 3.0)]
    assert near(fitted(words, tones(SOUNDS)), SOUNDS)


def test_a_border_far_from_any_pause_stays():
    words = [Span(0.4, 1.6), Span(1.6, 3.0)]
    first, second = fitted(words, tones(SOUNDS))
    assert first.end == second.start == pytest.approx(1.6)


def test_short_closures_are_no_pauses():
    assert pauses(tones([Span(0.0, 1.0), Span(1.05, 2.0)], seconds=2.0)) == []


def test_noise_without_pauses_moves_nothing():
    words = [Span(0.0, 1.0), Span(1.0, 3.0)]
    assert fitted(words, tones([], noise=0.1)) == words


def test_silence_moves_nothing():
    words = [Span(0.0, 1.0), Span(1.0, 2.0)]
    assert fitted(words, np.zeros(SAMPLE_RATE * 2, dtype=np.float32)) == words


def test_no_audio_has_no_pauses():
    assert pauses(np.zeros(0, dtype=np.float32)) == []
    assert fitted([], np.zeros(0, dtype=np.float32)) == []


@given(st.lists(st.floats(0, 4), min_size=2, max_size=12))
def test_spans_stay_in_order_and_within_the_audio(moments: list[float]):
    moments.sort()
    words = [Span(a, b) for a, b in pairwise(moments)]
    times = [time for span in fitted(words, tones(SOUNDS)) for time in (span.start, span.end)]
    assert times == sorted(times)
    assert all(0 <= time <= 3.2 for time in times)
