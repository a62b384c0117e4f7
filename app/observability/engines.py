"""Which engines run, and how often they had to be started again."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class SupervisionMetrics:
    """Implements app.engine.supervision.Observer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._up = Gauge(
            "lora_api_engine_up",
            "1 where a model's engine runs; 0 where it has died or was not started.",
            ["model"],
            registry=registry,
        )
        self._restarts = Counter(
            "lora_api_engine_restarts",
            "Engines that were started again after they had died.",
            ["model"],
            registry=registry,
        )

    def engine_up(self, model: str) -> None:
        """Show an engine as running, and its restarts from zero."""
        self._up.labels(model).set(1)
        self._restarts.labels(model)

    def engine_down(self, model: str) -> None:
        """Show an engine as dead."""
        self._up.labels(model).set(0)

    def engine_restarted(self, model: str) -> None:
        """Count an engine that was started again."""
        self._restarts.labels(model).inc()
