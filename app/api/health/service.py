"""Whether this replica can answer now, and its metrics."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, generate_latest

from app.api.health.schemas import ModelStatus

log = structlog.get_logger()

Check = Callable[[], Awaitable[None]]
"""Returns when the part works; raises when it does not."""


@dataclass(frozen=True, slots=True)
class Health:
    """Names of parts that do not work: those that no request can do without, and the others."""

    failing: list[str]
    degraded: list[str]
    models: dict[str, ModelStatus] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parts:
    """What is checked. Without a vital part nothing is answered; without another much still is.

    Models are vital or optional; `absent` are optional ones that were not started.
    """

    vital: Mapping[str, Check]
    useful: Mapping[str, Check]
    models: Mapping[str, Check] = field(default_factory=dict)
    optional_models: Mapping[str, Check] = field(default_factory=dict)
    absent: Collection[str] = ()


class HealthObserver(Protocol):
    """Is shown what works (app.observability.health)."""

    def health_seen(self, *, is_ready: bool, parts: Mapping[str, bool]) -> None: ...


CHECK_TIMEOUT_SECONDS = 4.0
FRESH_SECONDS = 1.0


class HealthService:
    """Runs the checks of all parts side by side; renders all metric registries as one text."""

    def __init__(
        self,
        parts: Parts,
        registries: Sequence[CollectorRegistry],
        observer: HealthObserver | None = None,
    ) -> None:
        self._parts = parts
        self._registries = registries
        self._observer = observer
        self._one_at_a_time = asyncio.Lock()
        self._checked_at = -math.inf
        self._health = Health([], [])

    async def check(self) -> Health:
        """Say which parts do not work.

        An answer serves everybody who asks within FRESH_SECONDS, since anybody may ask.
        """
        async with self._one_at_a_time:
            if time.monotonic() - self._checked_at > FRESH_SECONDS:
                self._health = await self._checked()
                self._checked_at = time.monotonic()
            return self._health

    async def _checked(self) -> Health:
        parts = self._parts
        failing, degraded, down, down_optional = await asyncio.gather(
            self._broken(parts.vital),
            self._broken(parts.useful),
            self._broken(parts.models),
            self._broken(parts.optional_models),
        )
        models: dict[str, ModelStatus] = {
            id: "up" for id in (*parts.models, *parts.optional_models)
        }
        models |= {id: "down" for id in (*down, *down_optional)}
        models |= {id: "not_started" for id in parts.absent}
        lacking = [*down_optional, *parts.absent]
        return Health(failing + _named(down), degraded + _named(lacking), models)

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

    async def metrics(self) -> bytes:
        """Return everything in Prometheus text format, with what works now."""
        health = await self.check()
        if self._observer is not None:
            self._show(health, self._observer)
        return b"".join(generate_latest(registry) for registry in self._registries)

    def _show(self, health: Health, observer: HealthObserver) -> None:
        failing = {*health.failing, *health.degraded}
        parts = {name: name not in failing for name in (*self._parts.vital, *self._parts.useful)}
        observer.health_seen(is_ready=not health.failing, parts=parts)


def _named(models: Sequence[str]) -> list[str]:
    return [f"model {id}" for id in models]
