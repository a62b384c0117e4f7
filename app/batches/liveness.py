"""Whether a model can be asked, by what its lines saw last and by what the process knows."""

import time
from collections.abc import Callable

from app.batches.types import Capacity

TRUSTED_SECONDS = 5.0
"""How long a death that a line has seen counts for more than what else is known.

What tells whether a model is up may look seldom. A line that is given to a dead engine would be
taken for one that kills it.
"""


class Liveness:
    """The models of one process. `clock` counts seconds."""

    def __init__(self, capacity: Capacity, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        self._died: dict[str, float] = {}

    def died(self, model: str) -> None:
        """Note that the model's engine died while a line was in it."""
        self._died[model] = self._clock()

    async def is_up(self, model: str) -> bool:
        """Tell whether a line may be given to the model. None of ours, empty, may always be."""
        if not model:
            return True
        died = self._died.get(model)
        if died is not None and self._clock() - died < TRUSTED_SECONDS:
            return False
        return await self._capacity.is_up(model)
