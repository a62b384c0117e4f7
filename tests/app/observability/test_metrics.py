"""The service's own metrics, as Prometheus reads them."""

from prometheus_client import generate_latest

from app.observability.metrics import Metrics

FAILURES = "lora_api_background_failures_total"


def test_failures_of_work_that_has_never_failed_are_zero_of_each_kind() -> None:
    metrics = Metrics()
    metrics.background_begun("pins")
    metrics.background_begun("usage")
    metrics.background_failed("usage")
    for task, count in {"pins": 0, "usage": 1}.items():
        assert metrics.registry.get_sample_value(FAILURES, {"task": task}) == count


def test_beginning_again_forgets_no_failure() -> None:
    metrics = Metrics()
    metrics.background_failed("usage")
    metrics.background_begun("usage")
    assert metrics.registry.get_sample_value(FAILURES, {"task": "usage"}) == 1


def test_audio_is_counted_by_model_and_direction() -> None:
    metrics = Metrics()
    metrics.heard("whisper", 2.5)
    metrics.heard("whisper", 1.0)
    metrics.spoken("orpheus", 4.0)
    written = generate_latest(metrics.registry).decode()
    assert 'lora_api_audio_seconds_total{direction="in",model="whisper"} 3.5' in written
    assert 'lora_api_audio_seconds_total{direction="out",model="orpheus"} 4.0' in written
