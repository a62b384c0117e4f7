"""The metrics of batches, as Prometheus reads them."""

from prometheus_client import CollectorRegistry, generate_latest

from app.batches.lines import URLS
from app.batches.observer import BatchObserver
from app.batches.stats import QueueObserver, QueueStats
from app.observability.batches import BatchMetrics
from app.observability.metrics import Metrics

CHAT = "/v1/chat/completions"


def lines_of(registry: CollectorRegistry) -> list[str]:
    return generate_latest(registry).decode().splitlines()


def test_what_workers_do_is_counted() -> None:
    registry = CollectorRegistry()
    metrics = BatchMetrics(registry)
    for is_ok in (True, True, False):
        metrics.batch_line_ended(CHAT, is_ok=is_ok)
    metrics.batch_line_retried(CHAT)
    metrics.batch_chunk_ended("base", 7.0)
    metrics.batch_chunk_ended("", 0.2)
    metrics.batch_lease_lost()

    lines = lines_of(registry)

    for line in (
        f'lora_api_batch_lines_ended_total{{outcome="succeeded",url="{CHAT}"}} 2.0',
        f'lora_api_batch_lines_ended_total{{outcome="failed",url="{CHAT}"}} 1.0',
        f'lora_api_batch_lines_retried_total{{url="{CHAT}"}} 1.0',
        'lora_api_batch_chunk_seconds_bucket{le="5.0",model="base"} 0.0',
        'lora_api_batch_chunk_seconds_bucket{le="10.0",model="base"} 1.0',
        'lora_api_batch_chunk_seconds_count{model="none"} 1.0',
        "lora_api_batch_leases_lost_total 1.0",
    ):
        assert line in lines


def test_counters_of_every_url_are_there_from_the_start() -> None:
    registry = CollectorRegistry()
    BatchMetrics(registry)
    lines = lines_of(registry)
    for url in URLS:
        assert f'lora_api_batch_lines_retried_total{{url="{url}"}} 0.0' in lines
        for outcome in ("succeeded", "failed"):
            labels = f'outcome="{outcome}",url="{url}"'
            assert f"lora_api_batch_lines_ended_total{{{labels}}} 0.0" in lines


def test_gauges_show_the_queue_as_it_was_last_seen() -> None:
    registry = CollectorRegistry()
    metrics = BatchMetrics(registry)
    metrics.queue_seen(QueueStats({"finalizing": 3}, {"gone": 5}, {"gone": 1}, 4, 5, 6))
    metrics.queue_seen(QueueStats({"in_progress": 2}, {"base": 70, "": 1}, {"base": 10}, 1, 90, 30))

    lines = lines_of(registry)

    for line in (
        'lora_api_batches{status="validating"} 0.0',
        'lora_api_batches{status="in_progress"} 2.0',
        'lora_api_batches{status="finalizing"} 0.0',
        'lora_api_batch_lines{model="base",state="queued"} 70.0',
        'lora_api_batch_lines{model="base",state="running"} 10.0',
        'lora_api_batch_lines{model="none",state="queued"} 1.0',
        'lora_api_batch_lines{model="none",state="running"} 0.0',
        "lora_api_batch_chunks_overdue 1.0",
        "lora_api_batch_oldest_seconds 90.0",
        "lora_api_batch_oldest_waiting_seconds 30.0",
    ):
        assert line in lines
    assert "gone" not in "".join(lines)


def test_a_replica_that_has_not_looked_yet_shows_no_queue() -> None:
    registry = CollectorRegistry()
    BatchMetrics(registry)
    text = generate_latest(registry).decode()
    assert "lora_api_batches" not in text
    assert "lora_api_batch_oldest" not in text


def test_a_served_model_is_in_the_queue_with_nothing_to_do() -> None:
    registry = CollectorRegistry()
    metrics = BatchMetrics(registry)
    metrics.batch_model_served("base")
    metrics.queue_seen(QueueStats())
    for state in ("queued", "running"):
        labels = {"model": "base", "state": state}
        assert registry.get_sample_value("lora_api_batch_lines", labels) == 0


def test_the_service_s_metrics_can_be_told_of_both() -> None:
    metrics = Metrics()
    observer: BatchObserver = metrics
    watcher: QueueObserver = metrics
    observer.batch_lease_lost()
    watcher.queue_seen(QueueStats(oldest_seconds=1))
    lines = lines_of(metrics.registry)
    assert "lora_api_batch_leases_lost_total 1.0" in lines
    assert "lora_api_batch_oldest_seconds 1.0" in lines
