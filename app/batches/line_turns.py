"""Whose line goes next: as many are on their way as may be, from one organisation after another."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class LineTurns:
    """The turns of one model's lines. `most` tells how many may be taken now, at least one."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._taken = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, org_id: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it for the block."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(org_id, deque()).append(turn)
        self.offer()
        try:
            await turn
            yield
        finally:
            # Cancelled while it waited, it has none, unless it was given one in the same moment.
            if turn.done() and not turn.cancelled():
                self._taken -= 1
                self.offer()

    def offer(self) -> None:
        """Give out what is free; to be called too when `most` may have grown."""
        while self._waiting and self._taken < max(1, self._most()):
            org_id, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[org_id] = turns
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
