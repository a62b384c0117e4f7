"""How far apart batch lines come in beside other requests.

A prompt holds up the next token of everybody who is in the engine, and all that come at once are
computed in one step. Lines that began together also end together, and make room for as many again.
"""

MOST_PACE = 2.0
"""How much faster than places become free in a steady flow lines may come in."""

NEWEST_SHARE = 0.1
"""Of the mean of how long lines take, what the newest one makes out."""


class Spacing:
    """Spaces the lines of one engine, that has so many places for them. Moments are in seconds."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._line_seconds = 0.0
        self._next_at = float("-inf")

    def wait(self, now: float) -> float:
        """Return in how many seconds the next line may come in; 0 if it may now."""
        return max(self._next_at - now, 0.0)

    def began(self, now: float) -> None:
        """Take note that a line has come in."""
        self._next_at = now + self._line_seconds / self._places / MOST_PACE

    def ended(self, seconds: float) -> None:
        """Take note that a line has ended after so long."""
        share = NEWEST_SHARE if self._line_seconds else 1.0
        self._line_seconds += share * (seconds - self._line_seconds)
