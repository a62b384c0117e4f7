"""What becomes of requests that are passed on to other pools. Pools are named by the settings."""

from collections.abc import Iterable
from typing import get_args

from prometheus_client import CollectorRegistry, Counter

from app.pools.forwarding import Outcome


class PoolMetrics:
    """Counts by pool, in a deployment that has several."""

    def __init__(self, registry: CollectorRegistry, pools: Iterable[str]) -> None:
        self._forwarded = Counter(
            "lora_api_forwarded_requests",
            "Requests passed on to the pool that serves their model, by outcome: answered, or not: "
            "unreachable, lost, broken, left.",
            ["pool", "outcome"],
            registry=registry,
        )
        for pool in pools:
            for outcome in get_args(Outcome):
                self._forwarded.labels(pool, outcome)

    def forwarded(self, pool: str, outcome: Outcome) -> None:
        """Count a request."""
        self._forwarded.labels(pool, outcome).inc()
