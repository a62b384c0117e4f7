"""What an engine loads and unloads is counted where the registry does not tell it."""

from pathlib import Path

import pytest

from adapters_registry.errors import AdapterLoadFailed
from adapters_registry.host import AdapterHost
from adapters_registry.testing import RecordingHost
from adapters_registry.types import AdapterVersion, Digest, LoadedAdapter
from app.observability.hosts import CountedHost
from app.observability.metrics import Metrics

ADAPTER = LoadedAdapter(AdapterVersion(Digest("ab" * 32), "base"), 1, Path("/nowhere"))


class BrokenHost(RecordingHost):
    """Loads nothing."""

    async def load(self, adapter: LoadedAdapter) -> None:
        raise AdapterLoadFailed(adapter.version.digest)


def counted(host: AdapterHost) -> tuple[CountedHost, Metrics]:
    metrics = Metrics()
    metrics.adapters_served("base")
    return CountedHost(host, metrics), metrics


def value(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"base_model": "base"})


async def test_a_load_that_fails_is_counted_and_still_fails() -> None:
    host, metrics = counted(BrokenHost(2, slots=1))
    with pytest.raises(AdapterLoadFailed):
        await host.load(ADAPTER)
    assert value(metrics, "lora_api_adapter_load_failures_total") == 1


async def test_unloads_are_counted() -> None:
    host, metrics = counted(RecordingHost(2, slots=1))
    await host.load(ADAPTER)
    assert value(metrics, "lora_api_adapter_unloads_total") == 0
    await host.unload(ADAPTER)
    assert value(metrics, "lora_api_adapter_unloads_total") == 1
    assert value(metrics, "lora_api_adapter_load_failures_total") == 0


def test_all_else_is_the_engine_s_own() -> None:
    inner = RecordingHost(3, slots=2)
    host, _ = counted(inner)
    for name in ("capacity", "slots", "max_running", "max_running_each", "ranks", "shapes"):
        assert getattr(host, name) == getattr(inner, name)
