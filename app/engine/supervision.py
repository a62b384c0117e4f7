"""Brings engines back that have died, each model for itself while the others go on.

The first death of an engine that had lived long is followed by a start at once, the next ones by
longer and longer pauses. A start that fails is a death. Too many in a row are not to be mended from
here: the process is to end, so that whoever runs it sees that, and may give it another machine. An
optional model is tried for ever instead.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from app.engine.base import EngineDead, EngineStartError
from app.engine.garbage import spare_the_garbage_collector
from app.engine.supervised import SupervisedEngine

log = structlog.get_logger()

LOOK_SECONDS = 0.5
"""How often each engine is looked at; a look asks no process anything."""

Forget = Callable[[str], Awaitable[None]]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When an engine is started again; see app.settings.EngineSettings."""

    pause_seconds: float
    longest_pause_seconds: float
    deaths: int
    stable_seconds: float


class DeathStreak:
    """The deaths of one engine that came soon after its start. Times are in seconds."""

    def __init__(self, policy: RestartPolicy, started_at: float) -> None:
        self._policy = policy
        self._started_at = started_at
        self.deaths = 0

    def started(self, now: float) -> None:
        """Note that the engine is up."""
        self._started_at = now

    def died(self, now: float) -> None:
        """Count a death; one that comes long after the start is the first again."""
        is_first = now - self._started_at >= self._policy.stable_seconds
        self.deaths = 1 if is_first else self.deaths + 1

    @property
    def is_over(self) -> bool:
        """Whether they are too many."""
        return self.deaths >= self._policy.deaths

    @property
    def pause(self) -> float:
        """How long to wait before the next start."""
        if self.deaths <= 1:
            return 0.0
        # Bounded before it is raised: an optional model may die for ever.
        doublings = min(self.deaths - 2, 30)
        pause = self._policy.pause_seconds * 2.0**doublings
        return min(pause, self._policy.longest_pause_seconds)


class Observer(Protocol):
    """Is told which engines run."""

    def engine_up(self, model: str) -> None: ...

    def engine_down(self, model: str) -> None: ...

    def engine_restarted(self, model: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Duties:
    """What else is to be done when an engine dies.

    `forget` is told the model before its new engine is used; `give_up` has the process end. While
    the process ends, engines may have been told so as well, and are not started again.
    """

    forget: Forget
    give_up: Callable[[], None]
    is_ending: Callable[[], bool]
    observer: Observer


class Supervisor:
    """Watches engines from `start` to `close`. `optional` are ids of models to do without."""

    def __init__(
        self,
        engines: Iterable[SupervisedEngine],
        policy: RestartPolicy,
        duties: Duties,
        *,
        optional: Collection[str] = (),
        clock: Clock = time.monotonic,
    ) -> None:
        self._engines = list(engines)
        self._policy = policy
        self._duties = duties
        self._optional = optional
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to watch."""
        for engine in self._engines:
            self._duties.observer.engine_up(engine.id)
            self._tasks.add(asyncio.create_task(self._guard(engine), name=f"engine {engine.id}"))

    async def close(self) -> None:
        """Watch no longer; an engine that is being started is cut short, and waited for."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _guard(self, engine: SupervisedEngine) -> None:
        try:
            await self._watch(engine)
        except Exception as error:
            # Ending an engine runs all of vLLM: an engine that nobody watches is not to stay.
            log.critical("engine cannot be supervised", model=engine.id, exc_info=error)
            self._duties.give_up()

    async def _watch(self, engine: SupervisedEngine) -> None:
        streak = DeathStreak(self._policy, self._clock())
        while True:
            await _until_dead(engine)
            self._duties.observer.engine_down(engine.id)
            if self._duties.is_ending():
                return
            if not await self._brought_back(engine, streak):
                return
            self._duties.observer.engine_up(engine.id)

    async def _brought_back(self, engine: SupervisedEngine, streak: DeathStreak) -> bool:
        """Start the engine until it runs; False where that has been given up."""
        streak.died(self._clock())
        log.error("engine died", model=engine.id, deaths_in_a_row=streak.deaths)
        await engine.bury()
        while not self._is_lost(engine, streak):
            await asyncio.sleep(streak.pause)
            begun = self._clock()
            try:
                await engine.revive(partial(self._duties.forget, engine.id))
            except EngineStartError as error:
                streak.started(now := self._clock())
                streak.died(now)
                log.error("engine not restarted", model=engine.id, reason=str(error))
                continue
            streak.started(now := self._clock())
            self._duties.observer.engine_restarted(engine.id)
            spare_the_garbage_collector()
            log.warning("engine restarted", model=engine.id, seconds=round(now - begun, 1))
            return True
        return False

    def _is_lost(self, engine: SupervisedEngine, streak: DeathStreak) -> bool:
        if not streak.is_over or engine.id in self._optional:
            return False
        reason = "its engine died too often in a row; the process ends"
        log.critical("model lost", model=engine.id, deaths_in_a_row=streak.deaths, reason=reason)
        self._duties.give_up()
        return True


async def _until_dead(engine: SupervisedEngine) -> None:
    while True:
        try:
            await engine.check()
        except EngineDead:
            return
        await asyncio.sleep(LOOK_SECONDS)
