"""What is inside each engine's gate and who was refused, read each time metrics are."""

from collections.abc import Iterator
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.inference.admission import BoundedAdmission
from app.inference.gate import REASONS
from app.inference.tiers import Tier

TIERS: tuple[Tier, ...] = get_args(Tier)


class AdmissionCollector:
    """A prometheus_client collector over one admission."""

    def __init__(self, admission: BoundedAdmission) -> None:
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        """Yield gauges of now and the count of refusals."""
        inside = GaugeMetricFamily(
            "lora_api_admitted_requests",
            "Requests that a model runs or that wait for it.",
            labels=["model", "tier"],
        )
        waiting = GaugeMetricFamily(
            "lora_api_admitted_requests_waiting",
            "Admitted requests beyond what a model can run at once.",
            labels=["model"],
        )
        tokens = GaugeMetricFamily(
            "lora_api_admitted_prompt_tokens",
            "Tokens of the admitted requests' prompts.",
            labels=["model"],
        )
        refused = CounterMetricFamily(
            "lora_api_admission_refusals",
            "Requests refused for capacity; reason: too many requests or prompt tokens, the "
            "adapter's turn, or the engine's own queue.",
            labels=["model", "tier", "reason"],
        )
        lines_waiting = GaugeMetricFamily(
            "lora_api_batch_lines_waiting",
            "Batch lines that wait for a place; those that have one are admitted requests.",
            labels=["model"],
        )
        displaced = CounterMetricFamily(
            "lora_api_batch_lines_displaced",
            "Times that a running batch line gave way to other requests.",
            labels=["model"],
        )
        for model, stats in self._admission.stats().items():
            waiting.add_metric([model], stats.waiting)
            tokens.add_metric([model], stats.tokens)
            lines_waiting.add_metric([model], stats.lines_waiting)
            displaced.add_metric([model], stats.displaced)
            for tier in TIERS:
                inside.add_metric([model, tier], stats.inside.get(tier, 0))
                for reason in REASONS:
                    refused.add_metric([model, tier, reason], stats.refused.get((tier, reason), 0))
        yield from (inside, waiting, tokens, refused, lines_waiting, displaced)
