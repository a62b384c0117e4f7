"""Which parts of this replica work, as the last look at them found."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge


class HealthMetrics:
    """Is shown each look."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ready = Gauge(
            "lora_api_ready",
            "1 where this replica can take requests, else 0.",
            registry=registry,
        )
        self._parts = Gauge(
            "lora_api_part_up",
            "1 where a part that models stand on answers, the database or the store, else 0.",
            ["part"],
            registry=registry,
        )

    def health_seen(self, *, is_ready: bool, parts: Mapping[str, bool]) -> None:
        """Show what a look has found."""
        self._ready.set(is_ready)
        for part, is_up in parts.items():
            self._parts.labels(part).set(is_up)
