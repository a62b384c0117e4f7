"""What the registry asks of an engine that can hold adapters."""

from collections.abc import Callable, Collection
from typing import Protocol

from adapters_registry.types import LinearShapes, LoadedAdapter


class AdapterHost(Protocol):
    """One base model's engine, seen as a place that holds LoRA weights."""

    @property
    def capacity(self) -> int:
        """How many adapters the engine's host memory holds (vLLM: `max_cpu_loras`)."""
        ...

    @property
    def slots(self) -> int:
        """How many different adapters the engine runs in one step (vLLM: `max_loras`)."""
        ...

    @property
    def max_running(self) -> int:
        """How many requests the engine runs at once (vLLM: `max_num_seqs`)."""
        ...

    @property
    def max_running_each(self) -> int:
        """How many requests of one adapter may run at once."""
        ...

    @property
    def ranks(self) -> Collection[int]:
        """The LoRA ranks that the engine takes."""
        ...

    @property
    def shapes(self) -> LinearShapes:
        """The layers that an adapter for this base model may change."""
        ...

    async def load(self, adapter: LoadedAdapter) -> None:
        """Make the engine read the adapter from its local, complete and immutable directory.

        **Raises:** AdapterLoadFailed, after the engine has been rid of whatever it half loaded.
        """
        ...

    async def unload(self, adapter: LoadedAdapter) -> None:
        """Free the adapter's place; returns when the engine no longer reads its directory."""
        ...


class HostProxy:
    """The properties of another host; loading and unloading are its subclasses' affair.

    `target` is asked each time: it need not be the same one for good.
    """

    def __init__(self, target: Callable[[], AdapterHost]) -> None:
        self._target = target

    @property
    def capacity(self) -> int:
        return self._target().capacity

    @property
    def slots(self) -> int:
        return self._target().slots

    @property
    def max_running(self) -> int:
        return self._target().max_running

    @property
    def max_running_each(self) -> int:
        return self._target().max_running_each

    @property
    def ranks(self) -> Collection[int]:
        return self._target().ranks

    @property
    def shapes(self) -> LinearShapes:
        return self._target().shapes
