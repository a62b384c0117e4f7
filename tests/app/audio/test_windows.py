import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audio.types import SAMPLE_RATE, Audio
from app.audio.windows import Window, split, voiced
from tests.app.audio.sounds import tone

SOUNDS = st.lists(
    st.tuples(st.floats(0.05, 40.0), st.floats(0.0, 6.0), st.floats(0.01, 0.5)),
    min_size=1,
    max_size=8,
)


def silence(seconds: float, *, noise: float = 0.0) -> Audio:
    count = round(seconds * SAMPLE_RATE)
    return (noise * np.random.default_rng(count).standard_normal(count)).astype(np.float32)


def joined(*pieces: Audio) -> Audio:
    return np.concatenate(pieces)


def bounds(windows: list[Window]) -> list[tuple[float, float]]:
    return [(w.start_seconds, w.start_seconds + len(w.samples) / SAMPLE_RATE) for w in windows]


def speech(seconds: float, level: float, *, seed: int = 0) -> Audio:
    """Return noise that swells and fades four times a second, with short pauses."""
    count = round(seconds * SAMPLE_RATE)
    times = np.arange(count) / SAMPLE_RATE
    swell = np.clip(np.sin(2 * np.pi * 4 * times) + 0.5, 0, None)
    noise = np.random.default_rng(seed).standard_normal(count)
    return (level * swell * noise).astype(np.float32)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.zeros(100, np.float32),
        np.zeros(60 * SAMPLE_RATE, np.float32),
        np.full(60 * SAMPLE_RATE, 0.3, np.float32),
        silence(60, noise=1e-4),
    ],
    ids=["nothing", "a few zeros", "zeros", "an offset", "the noise of a converter"],
)
def test_silent_audio_gives_no_window(samples: Audio) -> None:
    assert split(samples) == []
    assert voiced(samples) == []


def test_short_audio_is_one_window() -> None:
    samples = speech(10.0, 0.1)
    [window] = split(samples)
    assert window.start == 0
    assert len(window.samples) == len(samples)


def test_a_window_is_a_view() -> None:
    samples = speech(10.0, 0.1)
    [window] = split(samples)
    assert np.shares_memory(window.samples, samples)


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01], ids=["no noise", "hiss", "much noise"])
def test_long_silences_are_left_out_but_for_a_margin(noise: float) -> None:
    samples = joined(silence(10), speech(5, 0.1), silence(20), speech(5, 0.1), silence(10))
    samples += silence(50, noise=noise)
    found = bounds(split(samples))
    assert len(found) == 2
    assert found[0] == pytest.approx((9.6, 15.4), abs=0.15)
    assert found[1] == pytest.approx((34.6, 40.4), abs=0.15)


def test_short_silences_stay_inside_a_window() -> None:
    samples = joined(speech(5, 0.1), silence(1.5), speech(5, 0.1))
    assert len(split(samples)) == 1


def test_a_cut_is_made_in_the_middle_of_the_longest_pause() -> None:
    samples = joined(speech(18, 0.1), silence(0.3), speech(4, 0.1), silence(1.0), speech(25, 0.1))
    samples += silence(48.3, noise=0.0005)
    first, second = bounds(split(samples))
    assert first[1] == second[0] == pytest.approx(22.8, abs=0.3)


def test_audio_without_a_pause_is_cut_where_it_is_quietest() -> None:
    samples = joined(tone(300, 25, SAMPLE_RATE), 0.5 * tone(300, 1, SAMPLE_RATE))
    samples = joined(samples, tone(300, 20, SAMPLE_RATE))
    first, second = bounds(split(samples))
    assert first[1] == second[0] == pytest.approx(25.5, abs=0.3)


def test_a_scrap_is_not_left_over() -> None:
    windows = split(tone(300, 30.1, SAMPLE_RATE))
    assert len(windows) == 2
    assert min(len(window.samples) for window in windows) >= SAMPLE_RATE


def test_noise_without_speech_is_kept_since_it_may_be_something() -> None:
    samples = silence(20, noise=0.05)
    assert sum(len(window.samples) for window in split(samples)) == len(samples)


@pytest.mark.parametrize("below_db", [10, 20, 30])
def test_a_quiet_speaker_beside_a_loud_one_is_kept(below_db: int) -> None:
    quiet = speech(4, 0.2 * 10 ** (-below_db / 20), seed=1)
    samples = joined(speech(60, 0.2), silence(5), quiet, silence(5), speech(60, 0.2))
    samples += silence(134, noise=0.0003)
    covered = [window for window in split(samples) if 64 < window.start_seconds < 66]
    assert bounds(covered)[0] == pytest.approx((64.6, 69.4), abs=0.3)


@settings(max_examples=60, deadline=None)
@given(sounds=SOUNDS, noise=st.sampled_from([0.0, 1e-4, 1e-3]), most=st.sampled_from([5.0, 30.0]))
def test_every_loud_sample_is_in_one_window(
    sounds: list[tuple[float, float, float]], noise: float, most: float
) -> None:
    pieces = [joined(speech(on, level), silence(off)) for on, off, level in sounds]
    samples = joined(*pieces)
    samples += silence(len(samples) / SAMPLE_RATE, noise=noise)[: len(samples)]
    windows = split(samples, max_seconds=most)
    times_covered = np.zeros(len(samples), int)
    for window in windows:
        times_covered[window.start : window.start + len(window.samples)] += 1
        assert 0 < len(window.samples) <= most * SAMPLE_RATE
    assert [w.start for w in windows] == sorted(w.start for w in windows)
    assert times_covered.max(initial=0) <= 1
    # Ten times the noise and louder than the softest that counts as sound.
    loud = np.abs(samples) > max(10 * noise, 0.02)
    assert times_covered[loud].all()


def test_voiced_stretches_are_found_where_they_are() -> None:
    samples = joined(silence(1), speech(0.1, 0.1), silence(0.5), tone(300, 2, SAMPLE_RATE))
    samples = joined(samples, silence(1)) + silence(4.6, noise=0.0005)
    (first, _), *_, (_, last) = voiced(samples)
    assert first == pytest.approx(1.0, abs=0.04)
    assert last == pytest.approx(3.6, abs=0.04)
    assert voiced(samples)[-1][0] == pytest.approx(1.6, abs=0.04)


def test_voiced_stretches_are_ordered_and_apart() -> None:
    stretches = voiced(joined(*(joined(speech(1, 0.1), silence(0.5)) for _ in range(10))))
    edges = [edge for stretch in stretches for edge in stretch]
    assert edges == sorted(edges)
    assert len(stretches) >= 10


def test_an_hour_is_split_in_half_a_second() -> None:
    samples = np.tile(joined(speech(50, 0.1), silence(10, noise=0.001)), 60)
    started = time.process_time()
    windows = split(samples)
    assert time.process_time() - started < 0.5
    assert len(windows) >= 120
