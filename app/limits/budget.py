"""The budget of one request: what it takes from its windows, and what it gives back."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import NamedTuple

from app.limits.counters import Counters
from app.limits.dimensions import IN_HEADERS, Limit
from app.limits.durations import go_duration
from app.limits.failover import FailoverCounters
from app.limits.plans import Quota
from app.limits.refusals import rate_limit_reached, request_too_large
from app.limits.windows import Account, Window


class _Charge(NamedTuple):
    place: Counters
    windows: list[Window]
    amount: int


class Budget:
    """What one request may still use. `clock` counts Unix seconds.

    A charge is made first and judged by the count that it led to, so requests that run side by side
    never get more than the limit together. A refused charge is taken back whole. Whoever is
    cancelled while it charges a shared counter pays until the window's end: whether the server has
    counted it is unknown.
    """

    def __init__(
        self,
        counters: FailoverCounters,
        account: Account,
        quota: Quota,
        clock: Callable[[], float],
    ) -> None:
        self._counters = counters
        self._account = account
        self._quota = quota
        self._clock = clock
        self._seen: dict[str, tuple[Window, int]] = {}
        self._reserved: _Charge | None = None
        self._seconds: _Charge | None = None
        self._is_settled = False

    @property
    def headers(self) -> Mapping[str, str]:
        """`x-ratelimit-*` as they stand now; without those of what is not limited."""
        headers: dict[str, str] = {}
        now = self._clock()
        for unit, dimension in IN_HEADERS.items():
            if dimension in self._seen:
                headers |= _headers(unit, *self._seen[dimension], now)
        return headers

    async def count_request(self) -> None:
        """Count the request itself; refused, it counts for nothing. **Raises:** ApiError 429."""
        # Looked at as well, so that every answer can tell how many tokens are left.
        await self._charge(self._quota.requests, 1, looked_at=self._quota.tokens_in_headers)

    async def reserve_tokens(self, tokens: int) -> None:
        """Take tokens, at most once in a request.

        Refused, the request itself stays counted: it has cost its prompt's tokenization.

        **Raises:** ApiError 413, if a whole window has not as many, else 429.
        """
        if self._reserved is not None:
            raise RuntimeError("the tokens of this request are already reserved")
        self._reserved = await self._charge(self._quota.tokens, max(0, tokens))

    async def reserve_seconds(self, seconds: float) -> None:
        """Take seconds of audio, rounded up to whole ones. **Raises:** as `reserve_tokens`."""
        self._seconds = await self._charge(self._quota.seconds, max(0, ceil(seconds)))

    async def return_seconds(self) -> None:
        """Give the seconds of audio back, if their windows last; a second call does nothing."""
        charge, self._seconds = self._seconds, None
        if charge is not None and charge.amount > 0:
            await self._give_back(charge, charge.amount)

    async def settle(self, *, tokens: int) -> None:
        """Correct the reserved tokens to those that were used; a second call does nothing.

        What was not used goes back to the windows it was taken from, if they last. What was used
        beyond the reservation is charged to the windows of now, over their limits too.
        """
        if self._is_settled:
            return
        self._is_settled = True
        unused = (self._reserved.amount if self._reserved else 0) - max(0, tokens)
        if unused > 0 and self._reserved is not None:
            await self._give_back(self._reserved, unused)
        elif unused < 0:
            await self._add(self._quota.tokens, -unused)

    async def _charge(
        self, limits: tuple[Limit, ...], amount: int, looked_at: tuple[Limit, ...] = ()
    ) -> _Charge:
        self._refuse_too_large(limits, amount)
        charge, counts = await self._add(limits, amount, looked_at)
        over = {
            window: count
            for window, count in zip(charge.windows, counts, strict=True)
            if count > window.limit.amount
        }
        if over and amount > 0:
            await self._give_back(charge, amount)
            # Of several, the one that lasts longest: earlier, a retry would be refused again.
            window = max(over, key=lambda window: window.end)
            raise rate_limit_reached(
                self._account,
                window,
                used=max(0, over[window] - amount),
                requested=amount,
                wait_seconds=window.end - self._clock(),
                headers=self.headers,
            )
        return charge

    def _refuse_too_large(self, limits: tuple[Limit, ...], amount: int) -> None:
        exceeded = tuple(limit for limit in limits if amount > limit.amount)
        if exceeded:
            now = self._clock()
            window = self._account.windows(exceeded[:1], now)[0]
            raise request_too_large(
                self._account,
                window,
                requested=amount,
                wait_seconds=window.end - now,
                headers=self.headers,
            )

    async def _add(
        self, limits: tuple[Limit, ...], amount: int, looked_at: tuple[Limit, ...] = ()
    ) -> tuple[_Charge, list[int]]:
        windows = self._account.windows(limits + looked_at, self._clock())
        charged = len(limits)
        additions = [window.addition(amount) for window in windows[:charged]]
        additions += [window.addition(0) for window in windows[charged:]]
        place, counts = await self._counters.charge(additions)
        self._note(windows, counts)
        return _Charge(place, windows[:charged], amount), counts[:charged]

    async def _give_back(self, charge: _Charge, amount: int) -> None:
        now = self._clock()
        windows = [window for window in charge.windows if now < window.end]
        changes = [window.addition(-amount) for window in windows]
        counts = await self._counters.correct(charge.place, changes)
        if counts is None:
            return
        # Below zero only if the server has lost the charge meanwhile: nobody may gain by that.
        lost = [window.addition(-count) for window, count in zip(windows, counts, strict=True)]
        if any(count < 0 for count in counts):
            await self._counters.correct(
                charge.place, [change for change in lost if change.amount > 0]
            )
        self._note(windows, counts)

    def _note(self, windows: Sequence[Window], counts: Sequence[int]) -> None:
        for window, count in zip(windows, counts, strict=True):
            self._seen[window.limit.dimension.name] = (window, count)


def _headers(unit: str, window: Window, count: int, now: float) -> dict[str, str]:
    limit, is_over = window.limit.amount, window.end <= now
    remaining = limit if is_over else min(limit, max(0, limit - count))
    return {
        f"x-ratelimit-limit-{unit}": str(limit),
        f"x-ratelimit-remaining-{unit}": str(remaining),
        f"x-ratelimit-reset-{unit}": go_duration(max(0.0, window.end - now)),
    }
