"""An engine as a place for adapters, with what the registry does not tell counted."""

from typing import Protocol

from adapters_registry.errors import RegistryError
from adapters_registry.host import AdapterHost, HostProxy
from adapters_registry.types import LoadedAdapter
from app.engine.base import EngineError


class HostObserver(Protocol):
    """Is told of loads that failed and of unloads."""

    def adapter_load_failed(self, base_model: str) -> None: ...

    def adapter_unloaded(self, base_model: str) -> None: ...


class CountedHost(HostProxy):
    """Implements adapters_registry.host.AdapterHost over another one."""

    def __init__(self, host: AdapterHost, observer: HostObserver) -> None:
        super().__init__(lambda: host)
        self._observer = observer

    async def load(self, adapter: LoadedAdapter) -> None:
        """Load it. **Raises:** as the other does."""
        try:
            await self._target().load(adapter)
        except (RegistryError, EngineError):
            self._observer.adapter_load_failed(adapter.version.base_model)
            raise

    async def unload(self, adapter: LoadedAdapter) -> None:
        """Unload it. **Raises:** as the other does."""
        await self._target().unload(adapter)
        self._observer.adapter_unloaded(adapter.version.base_model)
