"""Which of many ids have series of their own in the metrics: a bounded number of those in use."""

import time
from collections import OrderedDict
from collections.abc import Callable

OTHER = "other"
IDLE_SECONDS = 3600.0
"""How long an id keeps its series unused; by then every scraper has read them."""


class Few:
    """Names at most `most` ids at a time; all others share the label OTHER.

    An id keeps its place until it was unused for `idle_seconds` and another wants it, so what was
    counted under a name stays there, and few names come and go. `forget` is told who has lost it.
    """

    def __init__(
        self,
        most: int,
        forget: Callable[[str], None],
        *,
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._forget = forget
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._used: OrderedDict[str, float] = OrderedDict()

    def label(self, id: str) -> str:
        """Return what an id is called in labels now."""
        now = self._clock()
        if id not in self._used and not self._has_place(now):
            return OTHER
        self._used[id] = now
        self._used.move_to_end(id)
        return id

    def _has_place(self, now: float) -> bool:
        if len(self._used) < self._most:
            return True
        if not self._used:
            return False
        longest, used = next(iter(self._used.items()))
        if now - used < self._idle_seconds:
            return False
        del self._used[longest]
        self._forget(longest)
        return True
