"""Asking a server again that is away for a while, such as one that is started anew.

For calls that may be repeated without harm: reads, and creates under a key of their own. It waits
as long as the server says, else longer each time, and always says that it waits.
"""

import time
from collections.abc import Callable

import httpx

PATIENCE_SECONDS = 3600.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
PASSING = frozenset({408, 429})
"""Statuses below 500 that official SDKs try again; besides these a 409 that names a wait."""

Tell = Callable[[str | None], None]
"""Is told why a call is tried again, and None once that is over."""


class Patience:
    """Repeats calls to one server until they are answered, each for so many seconds at most.

    Only a server that has answered before is waited for: an address that never did is wrong.
    """

    def __init__(
        self,
        tell: Tell,
        *,
        seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.tell = tell
        self._seconds = seconds
        self._clock = clock
        self._sleep = sleep
        self._has_answered = False

    def ask(self, call: Callable[[], httpx.Response]) -> httpx.Response:
        """Return the first answer that stays, or the last one there was time for.

        **Raises:** httpx.TransportError, where there is none.
        """
        deadline, pause = self._clock() + self._seconds, FIRST_PAUSE_SECONDS
        while True:
            outcome = self._outcome(call)
            reason, wait = _passing(outcome), _told_wait(outcome) or pause
            if not reason or self._clock() + wait > deadline:
                break
            self.tell(f"{reason}, asking again in {max(1, round(wait))} s")
            self._sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        self.tell(None)
        if isinstance(outcome, httpx.TransportError):
            raise outcome
        return outcome

    def _outcome(self, call: Callable[[], httpx.Response]) -> httpx.Response | httpx.TransportError:
        try:
            response = call()
        except httpx.TransportError as error:
            if not self._has_answered:
                raise
            return error
        self._has_answered = True
        return response


def _passing(outcome: httpx.Response | httpx.TransportError) -> str:
    """Say what is wrong and may pass; nothing where it stays as it is."""
    if isinstance(outcome, httpx.TransportError):
        return "the server does not answer"
    status, headers = outcome.status_code, outcome.headers
    may_pass = status in PASSING or status >= 500 or (status == 409 and "retry-after" in headers)
    if (told := headers.get("x-should-retry")) is not None:
        may_pass = told == "true"
    return f"the server answered {status}" if may_pass else ""


def _told_wait(outcome: httpx.Response | httpx.TransportError) -> float | None:
    if isinstance(outcome, httpx.TransportError):
        return None
    try:
        return max(0.0, float(outcome.headers["retry-after"]))
    except (KeyError, ValueError):
        return None
