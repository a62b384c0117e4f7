"""Whether this replica can answer now, and its metrics."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from prometheus_client import CollectorRegistry, generate_latest

log = structlog.get_logger()

Check = Callable[[], Awaitable[None]]
"""Returns when the part works; raises when it does not."""

CHECK_TIMEOUT_SECONDS = 4.0
FRESH_SECONDS = 1.0


class HealthService:
    """Runs the checks of all parts side by side; renders all metric registries as one text."""

    def __init__(
        self, checks: Mapping[str, Check], registries: Sequence[CollectorRegistry]
    ) -> None:
        self._checks = checks
        self._registries = registries
        self._one_at_a_time = asyncio.Lock()
        self._checked_at = -math.inf
        self._failing: list[str] = []

    async def failing(self) -> list[str]:
        """Return the names of the parts that do not work; empty when all do.

        An answer serves everybody who asks within FRESH_SECONDS, since anybody may ask.
        """
        async with self._one_at_a_time:
            if time.monotonic() - self._checked_at > FRESH_SECONDS:
                self._failing = await self._check_all()
                self._checked_at = time.monotonic()
            return self._failing

    async def _check_all(self) -> list[str]:
        names = list(self._checks)
        results = await asyncio.gather(*(self._works(name) for name in names))
        return [name for name, works in zip(names, results, strict=True) if not works]

    async def _works(self, name: str) -> bool:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await self._checks[name]()
        except Exception as error:
            log.warning("not_ready", part=name, error=type(error).__name__)
            return False
        return True

    def metrics(self) -> bytes:
        """Return everything in Prometheus text format."""
        return b"".join(generate_latest(registry) for registry in self._registries)
