"""An engine whose start waits for another start, or fails; for tests of starting several."""

import asyncio
from typing import ClassVar, Self

from app.catalog import ModelSpec
from app.engine.base import EngineStartError
from app.engine.metrics import EngineMetrics

FAILS = "fails"


class BarrierEngine:
    """Starts when as many starts run as the barrier asks for."""

    barrier = asyncio.Barrier(2)
    open: ClassVar[set[str]] = set()

    def __init__(self, id: str) -> None:
        self._id = id
        self.open.add(id)

    @classmethod
    async def start(cls, spec: ModelSpec, metrics: EngineMetrics) -> Self:
        await cls.barrier.wait()
        if spec.id.startswith(FAILS):
            raise EngineStartError(f"model {spec.id}: no")
        return cls(spec.id)

    async def close(self) -> None:
        self.open.remove(self._id)
