"""vLLM's Prometheus logger, kept out of the global registry so that several engines can share one
process; it decides where metrics are registered and nothing about which exist.

**Source:** vllm.v1.metrics.loggers.PrometheusStatLogger (0.32), which registers globally and, when
built, unregisters every earlier `vllm:` collector.
"""

import threading
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.registry import Collector
from vllm.v1.metrics.loggers import PrometheusStatLogger

UNBOUNDED = "vllm:lora_requests_info"

# Two engines may be built at once, and both pass through the one global registry.
_global_registry_lock = threading.Lock()


def stat_logger(registry: CollectorRegistry) -> type[PrometheusStatLogger]:
    """Return a logger class for one engine, whose collectors end up in `registry`."""

    class IsolatedStatLogger(PrometheusStatLogger):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            with _global_registry_lock:
                super().__init__(*args, **kwargs)
                # Its labels list the running adapters: a new series for each combination of them.
                self.gauge_lora_info = None
                take_collectors(registry)

        def log_engine_initialized(self) -> None:
            with _global_registry_lock:
                super().log_engine_initialized()
                take_collectors(registry)

    return IsolatedStatLogger


def take_collectors(target: CollectorRegistry, source: CollectorRegistry = REGISTRY) -> None:
    """Move every `vllm:` collector from one registry to another."""
    for collector in _vllm_collectors(source):
        source.unregister(collector)
        if getattr(collector, "_name", "") != UNBOUNDED:
            target.register(collector)


def _vllm_collectors(registry: CollectorRegistry) -> list[Collector]:
    return [
        collector
        for collector in list(registry._collector_to_names)
        if str(getattr(collector, "_name", "")).startswith("vllm:")
    ]
