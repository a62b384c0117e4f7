"""A model's engine as the service holds it for good, whichever process runs it at the moment.

Between the death of one engine and the start of the next, everything that is asked of the model is
refused at once; what is known of it, its card above all, stays as the first engine told it. When an
engine is replaced is not decided here: see app.engine.supervision.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from adapters_registry.host import AdapterHost, HostProxy
from adapters_registry.types import LoadedAdapter
from app.engine.base import EngineDead, ModelCard, Run
from app.engine.factory import RunningEngine

Start = Callable[[], Awaitable[RunningEngine]]
Hook = Callable[[], Awaitable[None]]


class SupervisedEngine:
    """Implements what its engines implement: a chat model's is an app.engine.base.ChatEngine.

    `start` makes another engine like the first. **Raises:** EngineStartError.
    """

    def __init__(self, id: str, engine: RunningEngine, start: Start) -> None:
        self.id = id
        self._engine = engine
        self._start = start
        self._is_up = True
        self._inside: set[asyncio.Timeout] = set()
        self._adapters = None if engine.adapters is None else SupervisedHost(self)

    def __getattr__(self, name: str) -> Any:
        """Return what only engines of this kind have; while none runs, its methods are refused."""
        member = getattr(self._engine, name)
        if callable(member):
            self._require_up()
        return member

    @property
    def card(self) -> ModelCard:
        return self._engine.card

    @property
    def adapters(self) -> AdapterHost | None:
        return self._adapters

    @property
    def current(self) -> RunningEngine:
        """The engine that runs, or the last that did."""
        return self._engine

    async def probe(self, run: Run) -> None:
        """Have the engine do a little work. **Raises:** EngineError."""
        self._require_up()
        await self._engine.probe(run)

    async def check(self) -> None:
        """Return when the engine is alive. **Raises:** EngineDead."""
        self._require_up()
        await self._engine.check()

    @asynccontextmanager
    async def while_up(self) -> AsyncIterator[RunningEngine]:
        """Break the block off when the engine is buried. **Raises:** EngineDead.

        For calls that vLLM never answers where its process dies in the middle of them.
        """
        self._require_up()
        timeout = asyncio.timeout(None)
        self._inside.add(timeout)
        try:
            async with timeout:
                yield self._engine
        except TimeoutError:
            if not timeout.expired():
                raise
            raise _dead() from None
        finally:
            self._inside.discard(timeout)

    async def bury(self) -> None:
        """Refuse everything from now on, and end what is left of the engine."""
        self._is_up = False
        now = asyncio.get_running_loop().time()
        for timeout in self._inside:
            timeout.reschedule(now)
        await self._engine.close()

    async def revive(self, before_use: Hook) -> None:
        """Put a new engine in the place of the buried one; `before_use` runs just before.

        Cancelling leaves no new engine behind. **Raises:** EngineStartError.
        """
        engine = await self._start()
        try:
            await before_use()
        except BaseException:
            await engine.close()
            raise
        # Nothing is awaited between the hook's end and here: nobody can come in between.
        self._engine, self._is_up = engine, True

    async def close(self) -> None:
        """End the engine, unless it has been buried; running requests are lost."""
        if self._is_up:
            await self.bury()

    def _require_up(self) -> None:
        if not self._is_up:
            raise _dead()


class SupervisedHost(HostProxy):
    """Implements adapters_registry.host.AdapterHost over whichever engine runs."""

    def __init__(self, engine: SupervisedEngine) -> None:
        super().__init__(lambda: _host(engine.current))
        self._engine = engine

    async def load(self, adapter: LoadedAdapter) -> None:
        """Load it. **Raises:** AdapterLoadFailed; EngineDead, also where it dies meanwhile."""
        async with self._engine.while_up() as engine:
            await _host(engine).load(adapter)

    async def unload(self, adapter: LoadedAdapter) -> None:
        """Unload it. **Raises:** EngineDead, also where it dies meanwhile."""
        async with self._engine.while_up() as engine:
            await _host(engine).unload(adapter)


def _host(engine: RunningEngine) -> AdapterHost:
    assert engine.adapters is not None, "an engine is replaced by one like it"
    return engine.adapters


def _dead() -> EngineDead:
    return EngineDead("the engine has died and is started again")
