"""The service's own metrics, as Prometheus reads them."""

from prometheus_client import generate_latest

from app.observability.metrics import Metrics


def test_audio_is_counted_by_model_and_direction() -> None:
    metrics = Metrics()
    metrics.heard("whisper", 2.5)
    metrics.heard("whisper", 1.0)
    metrics.spoken("orpheus", 4.0)
    written = generate_latest(metrics.registry).decode()
    assert 'lora_api_audio_seconds_total{direction="in",model="whisper"} 3.5' in written
    assert 'lora_api_audio_seconds_total{direction="out",model="orpheus"} 4.0' in written
