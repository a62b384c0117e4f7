"""Taking vLLM's collectors out of the registry that it fills."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from app.engine.vllm_metrics import take_collectors


def test_only_vllm_collectors_move():
    source, target = CollectorRegistry(), CollectorRegistry()
    Counter("vllm:prompt_tokens", "Theirs.", registry=source).inc(2)
    Counter("requests", "Ours.", registry=source).inc(5)
    take_collectors(target, source)
    assert target.get_sample_value("vllm:prompt_tokens_total") == 2
    assert source.get_sample_value("vllm:prompt_tokens_total") is None
    assert source.get_sample_value("requests_total") == 5


def test_the_next_engine_may_register_the_same_names():
    source, targets = CollectorRegistry(), (CollectorRegistry(), CollectorRegistry())
    for value, target in enumerate(targets, start=1):
        Counter("vllm:prompt_tokens", "Theirs.", registry=source).inc(value)
        take_collectors(target, source)
    assert [target.get_sample_value("vllm:prompt_tokens_total") for target in targets] == [1, 2]


def test_the_metric_whose_labels_list_adapters_is_dropped():
    source, target = CollectorRegistry(), CollectorRegistry()
    Gauge("vllm:lora_requests_info", "Theirs.", ["running"], registry=source).labels("a,b").set(1)
    take_collectors(target, source)
    assert list(target.collect()) == list(source.collect()) == []
