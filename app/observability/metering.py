"""What metering could not do as it should."""

from prometheus_client import CollectorRegistry, Counter


class MeteringMetrics:
    """Stays at zero as long as the database answers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._without_detail = Counter(
            "lora_api_usage_without_detail",
            "Requests whose usage was counted without key and adapter, since too many were waiting "
            "for the database.",
            registry=registry,
        )

    def usage_without_detail(self, requests: int) -> None:
        """Count requests that are in the totals of their organisation and model alone."""
        self._without_detail.inc(requests)
