"""An engine as a place for adapters, with what the registry does not tell counted."""

from collections.abc import Collection
from typing import Protocol

from adapters_registry.errors import RegistryError
from adapters_registry.host import AdapterHost
from adapters_registry.types import LinearShapes, LoadedAdapter
from app.engine.base import EngineError


class HostObserver(Protocol):
    """Is told of loads that failed and of unloads."""

    def adapter_load_failed(self, base_model: str) -> None: ...

    def adapter_unloaded(self, base_model: str) -> None: ...


class CountedHost:
    """Implements adapters_registry.host.AdapterHost over another one."""

    def __init__(self, host: AdapterHost, observer: HostObserver) -> None:
        self._host = host
        self._observer = observer

    @property
    def capacity(self) -> int:
        return self._host.capacity

    @property
    def slots(self) -> int:
        return self._host.slots

    @property
    def max_running(self) -> int:
        return self._host.max_running

    @property
    def max_running_each(self) -> int:
        return self._host.max_running_each

    @property
    def ranks(self) -> Collection[int]:
        return self._host.ranks

    @property
    def shapes(self) -> LinearShapes:
        return self._host.shapes

    async def load(self, adapter: LoadedAdapter) -> None:
        """Load it. **Raises:** as the other does."""
        try:
            await self._host.load(adapter)
        except (RegistryError, EngineError):
            self._observer.adapter_load_failed(adapter.version.base_model)
            raise

    async def unload(self, adapter: LoadedAdapter) -> None:
        """Unload it. **Raises:** as the other does."""
        await self._host.unload(adapter)
        self._observer.adapter_unloaded(adapter.version.base_model)
