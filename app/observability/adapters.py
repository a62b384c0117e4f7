"""Where adapters are right now, read from the registry each time metrics are."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily

from adapters_registry.registry import AdapterRegistry


class AdapterCollector:
    """A prometheus_client collector over one registry."""

    def __init__(self, registry: AdapterRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        stats = self._registry.stats()
        resident = GaugeMetricFamily(
            "lora_api_adapters_resident",
            "Adapters that the engine holds.",
            labels=["base_model"],
        )
        leased = GaugeMetricFamily(
            "lora_api_adapters_leased",
            "Adapters that running requests use.",
            labels=["base_model"],
        )
        for base_model, residents in stats.residents.items():
            resident.add_metric([base_model], residents.resident)
            leased.add_metric([base_model], residents.leased)
        yield resident
        yield leased
        yield GaugeMetricFamily(
            "lora_api_adapter_cache_bytes",
            "Bytes of adapters on local disk.",
            value=stats.cache_bytes,
        )
