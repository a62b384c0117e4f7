"""What this process has for batches, told to those that fetch lines; see `SpareLane` for the rest.

Who keeps so many lines on their way keeps the engine full where nobody else asks it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.engine.base import Engine, EngineError
from app.inference.admission import BoundedAdmission

RENDERED_AHEAD = 4
"""One more line for so many that are in the engine or its queue is rendered while they are."""
LEAST_AHEAD = 2

TRUSTED_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Checked:
    moment: float
    is_up: bool


class SpareCapacity:
    """Implements app.batches.types.Capacity. `clock` counts seconds."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        admission: BoundedAdmission,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engines = engines
        self._admission = admission
        self._clock = clock
        self._checked: dict[str, _Checked] = {}

    @property
    def models(self) -> tuple[str, ...]:
        """Base models that this process serves."""
        return tuple(self._engines)

    def lines(self, model: str) -> int:
        """Return how many lines of a model may be on their way at once; the rest would wait."""
        places = self._admission.spare_places(model)
        return places + max(LEAST_AHEAD, places // RENDERED_AHEAD)

    def adapters(self, model: str) -> int:
        """Return how many adapters of a model they may ask at once now."""
        return int(min(self.lines(model), self._admission.spare_adapters(model)))

    async def is_up(self, model: str) -> bool:
        """Tell whether the model answers, or did a moment ago."""
        checked = self._checked.get(model)
        if checked is None or self._clock() - checked.moment >= TRUSTED_SECONDS:
            checked = self._checked[model] = _Checked(self._clock(), await self._answers(model))
        return checked.is_up

    async def _answers(self, model: str) -> bool:
        try:
            await self._engines[model].check()
        except EngineError:
            return False
        return True
