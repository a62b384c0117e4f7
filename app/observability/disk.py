"""The disk cache of adapters and the disk it lies on, read each time metrics are."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from adapters_registry.cache import DiskCache


class DiskCollector:
    """A prometheus_client collector over one cache, whose directory is `root`."""

    def __init__(self, cache: DiskCache, root: Path) -> None:
        self._cache = cache
        self._root = root

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield GaugeMetricFamily(
            "lora_api_adapter_cache_limit_bytes",
            "Bytes that adapters may have on local disk.",
            value=self._cache.max_bytes,
        )
        yield CounterMetricFamily(
            "lora_api_adapter_cache_evictions",
            "Adapters removed from local disk to make room for others.",
            value=self._cache.evictions,
        )
        disk = shutil.disk_usage(self._root)
        yield GaugeMetricFamily(
            "lora_api_disk_bytes", "Size of the disk that holds the cache.", value=disk.total
        )
        yield GaugeMetricFamily(
            "lora_api_disk_free_bytes",
            "Bytes free on the disk that holds the cache.",
            value=disk.free,
        )
