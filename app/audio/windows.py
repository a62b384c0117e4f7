"""Splitting of long audio into windows that a model can hear, cut where nobody speaks.

How loud is loud is judged by each recording's own floor and peak, so that hiss and hum count as
silence and quiet speech does not. It errs towards keeping: what may be speech is in a window, and
only long silences are left out. Linear in the samples; blocks (an hour: about 0.1 s).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.audio.types import SAMPLE_RATE, Audio

FRAME_SECONDS = 0.02
SILENT_DB = -70.0
"""Relative to full scale: what is nowhere louder is silent throughout."""

_FRAME = round(FRAME_SECONDS * SAMPLE_RATE)
# Of digital silence, which tells nothing of the noise where there is any.
_NOTHING_DB = -120.0
_ABOVE_FLOOR_DB = 6.0
_BELOW_PEAK_DB = 15.0
# Shorter than a pause between sentences, longer than a stop inside a word.
_FLOOR_SECONDS = 0.3
_GAP_SECONDS = 0.1
_LONG_SILENCE_SECONDS = 2.0
_MARGIN_SECONDS = 0.4
_CUT_SECONDS = 0.5
_MIN_SECONDS = 1.0

_Levels = NDArray[np.float64]
_Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of audio to be heard at once; `samples` is a view of it from sample `start` on."""

    start: int
    samples: Audio

    @property
    def start_seconds(self) -> float:
        return self.start / SAMPLE_RATE


def split(samples: Audio, *, max_seconds: float = 30.0) -> list[Window]:
    """Return what is to be heard of (samples,) float32, 16 kHz, in order and without overlap.

    No window is longer than `max_seconds`, which must be 2 at least. Silences of more than two
    seconds are left out but for a margin; audio that is silent throughout gives no window.
    """
    levels = _levels(samples)
    most = int(max_seconds / FRAME_SECONDS)
    return [
        Window(first * _FRAME, samples[first * _FRAME : last * _FRAME])
        for region in _regions(levels)
        for first, last in _pieces(levels, region, most)
    ]


def voiced(samples: Audio) -> list[tuple[float, float]]:
    """Return the stretches that are not silent, as (start, end) in seconds, ordered and apart.

    Silences of less than a tenth of a second do not part them.
    """
    spans = _active_spans(_levels(samples), _frames(_GAP_SECONDS))
    return [(first * FRAME_SECONDS, last * FRAME_SECONDS) for first, last in spans]


def _frames(seconds: float) -> int:
    return round(seconds / FRAME_SECONDS)


def _levels(samples: Audio) -> _Levels:
    """Return the level of each frame in dB of full scale, without what a frame is offset by."""
    count = -(-len(samples) // _FRAME)
    whole = len(samples) // _FRAME
    powers = np.empty(count)
    powers[:whole] = _power(samples[: whole * _FRAME].reshape(whole, _FRAME))
    if count > whole:
        powers[whole:] = _power(samples[np.newaxis, whole * _FRAME :])
    np.maximum(powers, 10 ** (_NOTHING_DB / 10), out=powers)
    levels: _Levels = 10 * np.log10(powers)
    return levels


def _power(frames: Audio) -> _Levels:
    squares = np.einsum("ij,ij->i", frames, frames, dtype=np.float64)
    means = frames.mean(axis=1, dtype=np.float64)
    powers: _Levels = squares / frames.shape[1] - means**2
    return powers


def _threshold(levels: _Levels) -> float:
    """Return the level above which a frame is no silence."""
    peak = float(levels.max())
    sounding = levels[levels > SILENT_DB - _ABOVE_FLOOR_DB]
    if len(levels) - len(sounding) >= min(_frames(_FLOOR_SECONDS), len(levels)):
        # Where there are pauses without any noise, what is quiet is a quiet sound.
        return SILENT_DB
    floor = float(_smooth(sounding, _frames(_FLOOR_SECONDS)).min())
    return max(SILENT_DB, min(floor + _ABOVE_FLOOR_DB, peak - _BELOW_PEAK_DB))


def _smooth(levels: _Levels, width: int) -> _Levels:
    """Return the mean over `width` frames round each; there are fewer at either end."""
    sums = np.concatenate(([0.0], levels.cumsum()))
    places = np.arange(len(levels))
    first = np.maximum(places - width // 2, 0)
    last = np.minimum(places - width // 2 + width, len(levels))
    means: _Levels = (sums[last] - sums[first]) / (last - first)
    return means


def _active_spans(levels: _Levels, gap: int) -> list[_Span]:
    """Return the spans of frames over the threshold; gaps of fewer frames do not part them."""
    if not len(levels):
        return []
    active = np.flatnonzero(levels > _threshold(levels))
    if not len(active):
        return []
    breaks = np.flatnonzero(np.diff(active) > gap)
    firsts = active[np.concatenate(([0], breaks + 1))]
    lasts = active[np.concatenate((breaks, [len(active) - 1]))] + 1
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _regions(levels: _Levels) -> Iterator[_Span]:
    """Yield what lies between long silences, each with a margin round it."""
    margin = _frames(_MARGIN_SECONDS)
    for first, last in _active_spans(levels, _frames(_LONG_SILENCE_SECONDS)):
        yield max(first - margin, 0), min(last + margin, len(levels))


def _pieces(levels: _Levels, region: _Span, most: int) -> Iterator[_Span]:
    """Yield a region in pieces of at most `most` frames, cut where it is quietest."""
    first, last = region
    while last - first > most:
        # In the second half, so that pieces are long; and the rest must not be a scrap.
        latest = min(first + most, last - min(_frames(_MIN_SECONDS), most // 2))
        earliest = first + most // 2
        smooth = _smooth(levels[earliest : latest + 1], _frames(_CUT_SECONDS))
        cut = earliest + int(smooth.argmin())
        yield first, cut
        first = cut
    yield first, last
