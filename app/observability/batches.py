"""Batches in the metrics: what this replica does for them, and how much there is to do for all.

The second comes from the database and is the same on every replica, to be read with `max`. Labels
are urls of endpoints, base models and statuses; no organisation and no batch is named.
"""

import time
from collections.abc import Collection, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from app.batches.lines import URLS
from app.batches.stats import QueueStats
from app.batches.types import UNFINISHED

CHUNK_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
NO_MODEL = "none"
"""Of lines that ask no model of this deployment."""


class BatchMetrics:
    """Is told what the workers do, and shown the queue."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lines = Counter(
            "lora_api_batch_lines_ended",
            "Lines of batches that got their final result here.",
            ["url", "outcome"],
            registry=registry,
        )
        self._retries = Counter(
            "lora_api_batch_lines_retried",
            "Answers to lines that were not final, so that the line is asked again.",
            ["url"],
            registry=registry,
        )
        self._chunk_seconds = Histogram(
            "lora_api_batch_chunk_seconds",
            "Seconds for which a chunk of lines was held, whatever came of it.",
            ["model"],
            buckets=CHUNK_SECONDS,
            registry=registry,
        )
        self._leases_lost = Counter(
            "lora_api_batch_leases_lost",
            "Chunks and steps that another process had taken over.",
            registry=registry,
        )
        for url in URLS:
            self._retries.labels(url)
            for outcome in ("succeeded", "failed"):
                self._lines.labels(url, outcome)
        self._queue = QueueCollector()
        registry.register(self._queue)

    def batch_line_ended(self, url: str, *, is_ok: bool) -> None:
        """Count a line's final result."""
        self._lines.labels(url, "succeeded" if is_ok else "failed").inc()

    def batch_line_retried(self, url: str) -> None:
        """Count an answer that was not final."""
        self._retries.labels(url).inc()

    def batch_chunk_ended(self, model: str, seconds: float) -> None:
        """Record how long a chunk was held; `model` is a base model, or empty."""
        self._chunk_seconds.labels(model or NO_MODEL).observe(seconds)

    def batch_lease_lost(self) -> None:
        """Count a chunk or step that another process has taken over."""
        self._leases_lost.inc()

    def batch_model_served(self, model: str) -> None:
        """Show a base model in the queue also while there is nothing for it."""
        self._queue.models.add(model)

    def queue_seen(self, stats: QueueStats) -> None:
        """Show the queue as it was just read."""
        self._queue.show(stats, time.time())


class QueueCollector:
    """The queue as it was last read; nothing before that. `models` are always shown."""

    def __init__(self) -> None:
        self.models: set[str] = set()
        self._seen: tuple[QueueStats, float] | None = None

    def show(self, stats: QueueStats, at: float) -> None:
        """Take the place of what was read before; `at` is Unix time."""
        self._seen = stats, at

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        if self._seen is None:
            return
        stats, seen_at = self._seen
        yield _batches(stats.batches)
        yield _lines(stats, self.models)
        numbers = {
            "chunks_overdue": (
                "Chunks held by processes that were not heard of in time, for anybody to take.",
                stats.overdue_chunks,
            ),
            "oldest_seconds": ("Age of the oldest unfinished batch.", stats.oldest_seconds),
            "oldest_waiting_seconds": (
                "Age of the oldest batch with which nobody has begun.",
                stats.oldest_waiting_seconds,
            ),
            "queue_seen_timestamp_seconds": ("Unix time at which the queue was read.", seen_at),
        }
        for name, (documentation, value) in numbers.items():
            yield GaugeMetricFamily(f"lora_api_batch_{name}", documentation, value=value)


def _batches(counts: Mapping[str, int]) -> Metric:
    gauge = GaugeMetricFamily("lora_api_batches", "Unfinished batches.", labels=["status"])
    for status in UNFINISHED:
        gauge.add_metric([status], counts.get(status, 0))
    return gauge


def _lines(stats: QueueStats, models: Collection[str]) -> Metric:
    gauge = GaugeMetricFamily(
        "lora_api_batch_lines",
        "Lines without a result that is stored: queued, or running on some replica.",
        labels=["model", "state"],
    )
    for model in sorted({*stats.queued_lines, *stats.running_lines, *models}):
        gauge.add_metric([model or NO_MODEL, "queued"], stats.queued_lines.get(model, 0))
        gauge.add_metric([model or NO_MODEL, "running"], stats.running_lines.get(model, 0))
    return gauge
