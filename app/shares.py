"""An amount that organisations share, with a bound for all and one for each.

Who finds too little left waits, for a bounded time. The order is that of coming, save that an
organisation which has its whole share keeps nobody else waiting. Organisations that hold nothing
are forgotten.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.errors import overloaded

SHARE = 4
"""How many organisations, each with its whole share, hold all there is."""


@dataclass(eq=False, slots=True)
class _Claim:
    """One holder's part; `granted` is done when it has it."""

    org_id: str
    amount: int
    granted: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    is_held: bool = False


class Shares:
    """Gives out parts of `most`, and no more than `most_each` to one organisation."""

    def __init__(self, most: int, most_each: int, *, wait_seconds: float, refusal: str) -> None:
        self._most = most
        self._most_each = most_each
        self._seconds = wait_seconds
        self._refusal = refusal
        self._held: dict[str, int] = {}
        self._waiting: dict[_Claim, None] = {}

    @property
    def held(self) -> dict[str, int]:
        """Return what each organisation holds; those that hold nothing are left out."""
        return dict(self._held)

    @asynccontextmanager
    async def hold(self, org_id: str, amount: int = 1) -> AsyncIterator[None]:
        """Hold an amount, waiting for it where need be. An amount over a bound never comes.

        **Raises:** ApiError 503, when it did not come in time.
        """
        claim = _Claim(org_id, amount)
        self._waiting[claim] = None
        try:
            self._grant()
            await self._granted(claim)
            yield
        finally:
            self._end(claim)

    async def _granted(self, claim: _Claim) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await claim.granted
        except TimeoutError as error:
            raise overloaded(f"{self._refusal} Please try again later.") from error

    def _grant(self) -> None:
        """Give to those who wait, in their order."""
        left = self._most - sum(self._held.values())
        full: set[str] = set()
        for claim in list(self._waiting):
            held = self._held.get(claim.org_id, 0)
            if claim.org_id in full or held + claim.amount > self._most_each:
                full.add(claim.org_id)
                continue
            if claim.amount > left:
                return
            left -= claim.amount
            self._held[claim.org_id] = held + claim.amount
            self._give(claim)

    def _give(self, claim: _Claim) -> None:
        del self._waiting[claim]
        claim.is_held = True
        if not claim.granted.done():
            claim.granted.set_result(None)

    def _end(self, claim: _Claim) -> None:
        self._waiting.pop(claim, None)
        if claim.is_held:
            self._held[claim.org_id] -= claim.amount
            if not self._held[claim.org_id]:
                del self._held[claim.org_id]
        self._grant()
