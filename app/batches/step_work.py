"""A process's work on steps: a few at a time, each tried until it comes to an end.

A step that cannot be done now is given back after a pause, so that another process may try. One
that fails in a way nobody expects is left to its lease; for so often, its batch fails.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol
from uuid import uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.batches import steps
from app.batches.observer import BatchObserver
from app.batches.outages import DATABASE_DOWN, STORE_DOWN, Patience
from app.batches.steps import ClaimedStep
from app.batches.types import BatchError, Step

log = structlog.get_logger()

TASK = "batch step"
STEPS_AT_ONCE = 2
LAST_ATTEMPT = 5
GIVEN_UP = BatchError(
    "processing_failed", "The batch was given up: each attempt to process it was cut short."
)


class Validates(Protocol):
    """Validates a batch, unless the step is lost meanwhile."""

    async def run(self, step: Step) -> None: ...


class Finalizes(Protocol):
    """Finalises a batch, and tells whether the batch has ended by it."""

    async def run(self, step: Step, *, without_lost: bool = False) -> bool: ...

    async def tidy(self, step: Step) -> None: ...


class StepWork:
    """The steps that this process holds. `on_end` is called whenever one is not held any more."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        validator: Validates,
        finalizer: Finalizes,
        patience: Patience,
        observer: BatchObserver,
        *,
        lease_seconds: int,
        on_end: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._validator = validator
        self._finalizer = finalizer
        self._patience = patience
        self._observer = observer
        self._lease_seconds = lease_seconds
        self._on_end = on_end
        self._held: dict[str, asyncio.Task[None]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    @property
    def tokens(self) -> set[str]:
        """Those of the steps that are held."""
        return set(self._held)

    async def take(self) -> None:
        """Take what there is to do, as much as is done at once."""
        while len(self._held) < STEPS_AT_ONCE and not self._is_closing:
            async with self._sessions.begin() as session:
                claimed = await steps.claim(
                    session, uuid4().hex, lease_seconds=self._lease_seconds, held=self.tokens
                )
            if claimed is None:
                return
            task = asyncio.create_task(self._run(claimed), name=TASK)
            self._held[claimed.step.token] = task
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def lose(self, token: str) -> None:
        """End the work on a step that is another's now, if it is still being done."""
        if task := self._held.pop(token, None):
            self._observer.batch_lease_lost()
            task.cancel()

    def stop(self) -> None:
        """End all work, and give the steps back."""
        self._is_closing = True
        for task in self._held.values():
            task.cancel()

    async def _run(self, claimed: ClaimedStep) -> None:
        has_ended = False
        try:
            has_ended = await self._try(claimed)
        finally:
            self._held.pop(claimed.step.token, None)
            self._on_end()
        if has_ended:
            await self._finalizer.tidy(claimed.step)

    async def _try(self, claimed: ClaimedStep) -> bool:
        try:
            return await self._attempt(claimed)
        except asyncio.CancelledError:
            if self._is_closing:
                await self._patience.with_database(TASK, lambda: self._release(claimed.step))
            raise

    async def _attempt(self, claimed: ClaimedStep) -> bool:
        try:
            return await self._do(claimed)
        except STORE_DOWN + DATABASE_DOWN as error:
            self._failed(error)
            await self._patience.rest()
            await self._patience.with_database(TASK, lambda: self._release(claimed.step))
        except Exception as error:
            # What a batch brings about is its own; the others are to go on.
            self._failed(error)
            if claimed.attempts >= LAST_ATTEMPT:
                await self._patience.with_database(TASK, lambda: self._refuse(claimed.step))
        return False

    async def _do(self, claimed: ClaimedStep) -> bool:
        step = claimed.step
        if claimed.status != "validating":
            is_last = claimed.attempts >= LAST_ATTEMPT
            return await self._finalizer.run(step, without_lost=is_last)
        if claimed.attempts > LAST_ATTEMPT:
            await self._refuse(step)
            return False
        await self._validator.run(step)
        await self._release(step)  # unless it has come to its end
        return False

    async def _refuse(self, step: Step) -> None:
        async with self._sessions.begin() as session:
            await steps.refused(session, step, [GIVEN_UP])

    async def _release(self, step: Step) -> None:
        async with self._sessions.begin() as session:
            await steps.release(session, step)

    def _failed(self, error: Exception) -> None:
        self._observer.background_failed(TASK)
        log.warning("batch step failed", exc_info=error)
