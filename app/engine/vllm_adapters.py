"""One vLLM engine as the place where adapters live; owns the rules that keep a failed load clean.

An adapter's vLLM name is its content digest, its id is never used twice and its directory never
changes, so vLLM's caches, which know adapters by name, id and path, cannot mix two contents up.
"""

from collections.abc import Collection

from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from adapters_registry.errors import AdapterLoadFailed
from adapters_registry.types import LinearShapes, LoadedAdapter
from app.catalog import LoraSpec
from app.engine.base import EngineDead


def lora_request(adapter: LoadedAdapter) -> LoRARequest:
    """Return vLLM's name for a loaded adapter."""
    if not adapter.path.is_absolute():
        raise ValueError("vLLM takes a relative adapter path for a hub id")
    return LoRARequest(
        lora_name=adapter.version.digest,
        lora_int_id=adapter.engine_id,
        lora_path=str(adapter.path),
    )


class VllmAdapterHost:
    """Implements adapters_registry.host.AdapterHost over one AsyncLLM."""

    def __init__(self, llm: AsyncLLM, lora: LoraSpec, shapes: LinearShapes) -> None:
        self._llm = llm
        self._lora = lora
        self._shapes = shapes
        self._known: set[int] = set()

    @property
    def capacity(self) -> int:
        return self._lora.max_cpu_loras

    @property
    def slots(self) -> int:
        return self._lora.max_loras

    @property
    def max_running(self) -> int:
        return int(self._llm.vllm_config.scheduler_config.max_num_seqs)

    @property
    def max_running_each(self) -> int:
        return self._lora.max_running_each or max(1, self.max_running * 3 // 4)

    @property
    def ranks(self) -> Collection[int]:
        return self._lora.ranks

    @property
    def shapes(self) -> LinearShapes:
        return self._shapes

    async def load(self, adapter: LoadedAdapter) -> None:
        """Make the engine read and activate the adapter.

        The engine finishes a load whose caller was cancelled. **Raises:** AdapterLoadFailed,
        EngineDead.
        """
        request = lora_request(adapter)
        try:
            is_loaded = await self._llm.add_lora(request)
        except EngineDeadError as error:
            raise EngineDead from error
        except Exception as error:
            # vLLM reports every failure inside the engine process as a bare Exception.
            await self.unload(adapter)
            raise AdapterLoadFailed(adapter.version.digest) from error
        if not is_loaded:
            await self.unload(adapter)
            raise AdapterLoadFailed(adapter.version.digest)
        self._known.add(adapter.engine_id)

    async def unload(self, adapter: LoadedAdapter) -> None:
        """Free the adapter's place; one that the engine has dropped already is no error.

        **Raises:** EngineDead.
        """
        self._known.discard(adapter.engine_id)
        try:
            await self._llm.remove_lora(adapter.engine_id)
        except EngineDeadError as error:
            raise EngineDead from error

    def request(self, adapter: LoadedAdapter) -> LoRARequest:
        """Return vLLM's name for an adapter that the engine was told of.

        It would take any other one in by itself, beyond what its caller counts.
        **Raises:** EngineDead, where the adapter was told to an engine that this one has replaced.
        """
        if adapter.engine_id not in self._known:
            raise EngineDead("the engine that held the adapter has died")
        return lora_request(adapter)
