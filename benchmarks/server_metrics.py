"""What a running server counts: read from its /metrics, between two moments."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

FINISHED = "vllm:request_success"
DONE = ("stop", "length")
GENERATED = "vllm:generation_tokens"


def finished_requests(url: str, model: str) -> float:
    """Return how many requests of the model have been answered to their end."""
    return _sum(url, f"{FINISHED}_total", model, {"finished_reason": DONE})


def generated_tokens(url: str, model: str) -> float:
    """Return how many tokens the model's engine has generated."""
    return _sum(url, f"{GENERATED}_total", model, {})


def _sum(url: str, name: str, model: str, wanted: dict[str, tuple[str, ...]]) -> float:
    text = httpx.get(f"{url}/metrics", timeout=30).text
    samples = [
        sample
        for family in text_string_to_metric_families(text)
        if name.startswith(family.name)
        for sample in family.samples
        if sample.name == name and sample.labels.get("model_name") == model
    ]
    return sum(
        sample.value
        for sample in samples
        if all(sample.labels.get(label) in values for label, values in wanted.items())
    )
