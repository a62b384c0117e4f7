"""The gauges of adapters tell what the registry holds."""

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from adapters_registry.artifacts import publish
from adapters_registry.cache import DiskCache
from adapters_registry.registry import AdapterRegistry
from adapters_registry.testing import MemoryStore, RecordingHost, make_artifact
from app.observability.adapters import AdapterCollector


async def test_gauges_follow_leases_and_pins(tmp_path: Path) -> None:
    store, metrics = MemoryStore(), CollectorRegistry()
    first = make_artifact(tmp_path / "first", "base", b"1", stored_as="first")
    second = make_artifact(tmp_path / "second", "base", b"2", stored_as="second")
    for artifact in (first, second):
        await publish(store, artifact, str(artifact.version.stored_as))
    async with DiskCache(tmp_path / "cache", store, max_bytes=1 << 20) as cache:
        hosts = {"base": RecordingHost(2, slots=1)}
        registry = AdapterRegistry(cache, hosts, wait_seconds=1)
        metrics.register(AdapterCollector(registry))
        await registry.pin(first.version)
        async with registry.lease(second.version):
            lines = generate_latest(metrics).decode().splitlines()
        await registry.close()

    for name, value in {
        "lora_api_adapters_resident": 2,
        "lora_api_adapters_leased": 2,
        "lora_api_adapters_pinned": 1,
        "lora_api_adapter_requests_running": 1,
        "lora_api_adapter_requests_waiting": 0,
    }.items():
        assert f'{name}{{base_model="base"}} {value}.0' in lines
    used = first.size_bytes + second.size_bytes
    assert f"lora_api_adapter_cache_bytes {used}.0" in lines
