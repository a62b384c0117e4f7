"""The bucket sync's metrics, as Prometheus reads them."""

from collections import Counter
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest

from app.adapters.bucket_actions import Outcome
from app.adapters.bucket_sync import Ignored, Status, SyncStats
from app.observability.bucket import BucketCollector


@dataclass
class Sync:
    stats: SyncStats = field(default_factory=SyncStats)


def exposed(stats: SyncStats) -> str:
    registry = CollectorRegistry()
    registry.register(BucketCollector(Sync(stats)))
    return generate_latest(registry).decode()


def test_every_number_has_its_series() -> None:
    stats = SyncStats(
        adapters={"base": Counter({Status.READY: 3, Status.FAILED: 1})},
        ignored=Counter({Ignored.PATH: 2}),
        outcomes=Counter({Outcome.PUBLISHED: 4}),
        rounds=2,
        round_seconds=0.5,
        finished_at=1700000000.0,
    )

    lines = exposed(stats).splitlines()

    for line in (
        'lora_api_bucket_adapters{base_model="base",status="ready"} 3.0',
        'lora_api_bucket_adapters{base_model="base",status="failed"} 1.0',
        'lora_api_bucket_adapters{base_model="base",status="waiting"} 0.0',
        'lora_api_bucket_directories_ignored{reason="path"} 2.0',
        'lora_api_bucket_sync_actions_total{outcome="published"} 4.0',
        "lora_api_bucket_sync_round_seconds_count 2.0",
        "lora_api_bucket_sync_round_seconds_sum 0.5",
        "lora_api_bucket_sync_finished_timestamp_seconds 1.7e+09",
    ):
        assert line in lines


def test_counters_are_there_before_the_first_round() -> None:
    text = exposed(SyncStats())

    for outcome in Outcome:
        assert f'lora_api_bucket_sync_actions_total{{outcome="{outcome}"}} 0.0' in text
