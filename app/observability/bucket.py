"""How the bucket sync of this replica is doing, read from it each time metrics are."""

from collections.abc import Iterator
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    SummaryMetricFamily,
)

from app.adapters.bucket_actions import Outcome
from app.adapters.bucket_sync import Ignored, Status, SyncStats


class Synced(Protocol):
    """Whatever keeps a sync's numbers."""

    @property
    def stats(self) -> SyncStats: ...


class BucketCollector:
    """A prometheus_client collector over one sync; every series is there from the start."""

    def __init__(self, sync: Synced) -> None:
        self._sync = sync

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        stats = self._sync.stats
        yield _adapters(stats)
        yield _ignored(stats)
        yield _outcomes(stats)
        yield SummaryMetricFamily(
            "lora_api_bucket_sync_round_seconds",
            "Seconds of the finished rounds of this replica.",
            count_value=stats.rounds,
            sum_value=stats.round_seconds,
        )
        yield GaugeMetricFamily(
            "lora_api_bucket_sync_finished_timestamp_seconds",
            "Unix time at which this replica last finished a round; 0 before the first.",
            value=stats.finished_at,
        )


def _adapters(stats: SyncStats) -> Metric:
    gauge = GaugeMetricFamily(
        "lora_api_bucket_adapters",
        "Adapters in the bucket as this replica last saw them: ready, failed, waiting or deleted.",
        labels=["base_model", "status"],
    )
    for base_model, counts in stats.adapters.items():
        for status in Status:
            gauge.add_metric([base_model, status], counts[status])
    return gauge


def _ignored(stats: SyncStats) -> Metric:
    gauge = GaugeMetricFamily(
        "lora_api_bucket_directories_ignored",
        "Directories in the bucket that this replica leaves alone, by reason.",
        labels=["reason"],
    )
    for reason in Ignored:
        gauge.add_metric([reason], stats.ignored[reason])
    return gauge


def _outcomes(stats: SyncStats) -> Metric:
    counter = CounterMetricFamily(
        "lora_api_bucket_sync_actions",
        "What this replica did with adapters in the bucket, by outcome.",
        labels=["outcome"],
    )
    for outcome in Outcome:
        counter.add_metric([outcome], stats.outcomes[outcome])
    return counter
