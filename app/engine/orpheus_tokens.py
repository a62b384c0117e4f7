"""What an Orpheus-style model's tokens mean: frames of seven codes, and which to decode together.

A frame's tokens stand for codes of three codebooks, of which the second is twice and the third four
times as fast as the first. Each place in a frame has token ids of its own, so a token tells its
place: what does not come in its place takes its frame with it, and the next frame begins clean.

**Source:** the published description of canopylabs/orpheus-3b-0.1-ft and its reference decoder.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

PLACES = 7
"""Tokens of a frame."""

CODEBOOKS: Sequence[Sequence[int]] = ((0,), (1, 4), (2, 3, 5, 6))
"""Which places of a frame hold the codes of each codebook, in their order."""

BEFORE, AFTER = 1, 2
"""Frames that are decoded on either side of those whose audio is kept."""

MOST_KEPT = 32
"""Frames whose audio is made at once: about three seconds."""

Frame = Sequence[int]
"""One code for each place."""


@dataclass(frozen=True, slots=True)
class AudioTokens:
    """The token ids of audio: `codebook_size` for each place, from `first` on."""

    first: int
    codebook_size: int

    def code(self, token: int) -> tuple[int, int] | None:
        """Return a token's place in its frame and its code; None where it is no audio."""
        if not 0 <= token - self.first < PLACES * self.codebook_size:
            return None
        return divmod(token - self.first, self.codebook_size)

    def tokens(self, frame: Frame) -> list[int]:
        """Return the tokens of a frame."""
        return [self.first + place * self.codebook_size + code for place, code in enumerate(frame)]


class FrameReader:
    """Puts frames together from tokens as they come."""

    def __init__(self, audio: AudioTokens) -> None:
        self._audio = audio
        self._codes: list[int] = []

    def read(self, tokens: Iterable[int]) -> Iterator[Frame]:
        """Yield every frame that these tokens complete."""
        for token in tokens:
            self._take(self._audio.code(token))
            if len(self._codes) == PLACES:
                yield tuple(self._codes)
                self._codes.clear()

    def _take(self, found: tuple[int, int] | None) -> None:
        place, code = found or (None, 0)
        if place != len(self._codes):
            self._codes.clear()
        if place == len(self._codes):
            self._codes.append(code)


class Piece(NamedTuple):
    """Frames to decode together; the audio of those from `start` to `stop` is kept."""

    frames: Sequence[Frame]
    start: int
    stop: int

    def codes(self) -> list[list[int]]:
        """Return the codes of each codebook, in the order of time."""
        return [[frame[place] for frame in self.frames for place in places] for places in CODEBOOKS]


class SlidingWindow:
    """Says what to decode, so that audio comes early and each frame's is kept once.

    A frame is decoded with one before it and two behind it, where there are so many; where several
    have come since, they are decoded together.
    """

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._kept = 0

    def push(self, frames: Iterable[Frame]) -> None:
        """Add frames that have come."""
        self._frames += frames

    def pieces(self, *, is_end: bool = False) -> Iterator[Piece]:
        """Yield what can be decoded now; at the end, all that is left."""
        while (ready := self._ready(is_end)) > 0:
            stop = self._kept + min(ready, MOST_KEPT)
            yield Piece(tuple(self._frames[: stop + AFTER]), self._kept, stop)
            passed = max(0, stop - BEFORE)
            del self._frames[:passed]
            self._kept = stop - passed

    def _ready(self, is_end: bool) -> int:
        return len(self._frames) - self._kept - (0 if is_end else AFTER)
