"""Whether this replica can answer now, and its metrics."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, generate_latest

log = structlog.get_logger()

Check = Callable[[], Awaitable[None]]
"""Returns when the part works; raises when it does not."""


@dataclass(frozen=True, slots=True)
class Health:
    """Names of parts that do not work: those that no request can do without, and the others."""

    failing: list[str]
    degraded: list[str]


CHECK_TIMEOUT_SECONDS = 4.0
FRESH_SECONDS = 1.0


class HealthService:
    """Runs the checks of all parts side by side; renders all metric registries as one text.

    Without a part in `vital` nothing can be answered; without one in `useful` much still can.
    """

    def __init__(
        self,
        vital: Mapping[str, Check],
        useful: Mapping[str, Check],
        registries: Sequence[CollectorRegistry],
    ) -> None:
        self._vital = vital
        self._useful = useful
        self._registries = registries
        self._one_at_a_time = asyncio.Lock()
        self._checked_at = -math.inf
        self._health = Health([], [])

    async def check(self) -> Health:
        """Say which parts do not work.

        An answer serves everybody who asks within FRESH_SECONDS, since anybody may ask.
        """
        async with self._one_at_a_time:
            if time.monotonic() - self._checked_at > FRESH_SECONDS:
                failing, degraded = await asyncio.gather(
                    self._broken(self._vital), self._broken(self._useful)
                )
                self._health = Health(failing, degraded)
                self._checked_at = time.monotonic()
            return self._health

    async def _broken(self, checks: Mapping[str, Check]) -> list[str]:
        results = await asyncio.gather(*(self._works(*check) for check in checks.items()))
        return [name for name, works in zip(checks, results, strict=True) if not works]

    async def _works(self, name: str, check: Check) -> bool:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await check()
        except Exception as error:
            log.warning("not_ready", part=name, error=type(error).__name__)
            return False
        return True

    def metrics(self) -> bytes:
        """Return everything in Prometheus text format."""
        return b"".join(generate_latest(registry) for registry in self._registries)
