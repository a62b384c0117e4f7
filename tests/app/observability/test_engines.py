"""Which engines run, as Prometheus reads it."""

from prometheus_client import generate_latest

from app.observability.metrics import Metrics


def test_a_death_and_a_restart_are_shown_by_model() -> None:
    metrics = Metrics()
    metrics.engine_up("one")
    metrics.engine_up("two")
    metrics.engine_down("two")
    metrics.engine_restarted("one")
    written = generate_latest(metrics.registry).decode().splitlines()
    for line in (
        'lora_api_engine_up{model="one"} 1.0',
        'lora_api_engine_up{model="two"} 0.0',
        'lora_api_engine_restarts_total{model="one"} 1.0',
        'lora_api_engine_restarts_total{model="two"} 0.0',
    ):
        assert line in written
