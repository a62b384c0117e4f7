"""Joining the metrics of several engines."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from app.engine.metrics import EngineMetrics


def _registry(model: str, tokens: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    counter = Counter("vllm:generation_tokens", "Tokens.", ["model_name"], registry=registry)
    counter.labels(model).inc(tokens)
    Gauge(f"vllm:only_{model}", "One engine has it.", registry=registry).set(1)
    return registry


def _scrape(metrics: EngineMetrics) -> list[str]:
    exposed = CollectorRegistry()
    exposed.register(metrics)
    return generate_latest(exposed).decode().splitlines()


def test_every_engines_samples_stand_under_one_head():
    metrics = EngineMetrics()
    metrics.add(_registry("a", 3))
    metrics.add(_registry("b", 4))
    lines = _scrape(metrics)
    assert 'vllm:generation_tokens_total{model_name="a"} 3.0' in lines
    assert 'vllm:generation_tokens_total{model_name="b"} 4.0' in lines
    assert lines.count("# TYPE vllm:generation_tokens_total counter") == 1
    assert lines.count("# HELP vllm:generation_tokens_total Tokens.") == 1
    assert "vllm:only_a 1.0" in lines


def test_an_engine_that_ended_is_exposed_no_longer():
    metrics = EngineMetrics()
    first, second = _registry("a", 3), _registry("b", 4)
    metrics.add(first)
    metrics.add(second)
    metrics.remove(first)
    metrics.remove(first)
    assert not any('model_name="a"' in line for line in _scrape(metrics))
    assert any('model_name="b"' in line for line in _scrape(metrics))


def test_reading_twice_gives_the_same():
    metrics = EngineMetrics()
    metrics.add(_registry("a", 3))
    assert _scrape(metrics) == _scrape(metrics)
