"""Where adapters are right now, read from the registry each time metrics are."""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily

from adapters_registry.registry import AdapterRegistry, HostStats

_GAUGES: dict[str, tuple[str, Callable[[HostStats], int]]] = {
    "lora_api_adapters_resident": (
        "Adapters that the engine holds.",
        lambda host: host.residents.resident,
    ),
    "lora_api_adapters_capacity": (
        "Adapters that the engine can hold.",
        lambda host: host.residents.capacity,
    ),
    "lora_api_adapters_leased": (
        "Adapters that running requests or pins hold.",
        lambda host: host.residents.leased,
    ),
    "lora_api_adapters_pinned": (
        "Adapters that are pinned on this replica.",
        lambda host: host.pinned,
    ),
    "lora_api_adapter_requests_running": (
        "Requests of adapters that have their turn.",
        lambda host: host.turns.running,
    ),
    "lora_api_adapter_requests_waiting": (
        "Requests of adapters that wait for their turn.",
        lambda host: host.turns.waiting,
    ),
}


class AdapterCollector:
    """A prometheus_client collector over one registry."""

    def __init__(self, registry: AdapterRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        stats = self._registry.stats()
        for name, (documentation, value) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, documentation, labels=["base_model"])
            for base_model, host in stats.hosts.items():
                gauge.add_metric([base_model], value(host))
            yield gauge
        yield GaugeMetricFamily(
            "lora_api_adapter_cache_bytes",
            "Bytes of adapters on local disk.",
            value=stats.cache_bytes,
        )
