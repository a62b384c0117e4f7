"""The disk in the metrics: the cache's budget, what left it, and the disk it lies on."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from adapters_registry.artifacts import publish
from adapters_registry.cache import DiskCache
from adapters_registry.testing import MemoryStore, make_artifact
from app.observability.disk import DiskCollector


async def test_what_made_room_for_others_is_counted(tmp_path: Path) -> None:
    store, metrics = MemoryStore(), CollectorRegistry()
    artifacts = [
        make_artifact(tmp_path / name, "base", name.encode(), stored_as=name)
        for name in ("first", "other")
    ]
    for artifact in artifacts:
        await publish(store, artifact, str(artifact.version.stored_as))
    most = artifacts[0].size_bytes
    assert artifacts[1].size_bytes == most
    async with DiskCache(tmp_path / "cache", store, max_bytes=most) as cache:
        metrics.register(DiskCollector(cache, tmp_path))
        for evicted, artifact in enumerate(artifacts):
            (await cache.fetch(artifact.version)).release()
            assert metrics.get_sample_value("lora_api_adapter_cache_evictions_total") == evicted

    assert metrics.get_sample_value("lora_api_adapter_cache_limit_bytes") == most
    free = metrics.get_sample_value("lora_api_disk_free_bytes")
    size = metrics.get_sample_value("lora_api_disk_bytes")
    assert free is not None
    assert size is not None
    assert 0 <= free <= size
