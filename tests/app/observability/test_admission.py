"""The metrics of admission tell what is inside and who was refused."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from app.engine.base import ModelCard
from app.errors import ApiError
from app.inference.admission import BoundedAdmission
from app.inference.spare import Line
from app.observability.admission import AdmissionCollector


def test_samples_follow_the_gate() -> None:
    card = ModelCard("tiny", "system", 100, 100, "fp_0", max_running=2, cache_tokens=100)
    admission, metrics = BoundedAdmission([card], queue=1, reserve=0), CollectorRegistry()
    metrics.register(AdmissionCollector(admission))

    def value(name: str, **labels: str) -> float | None:
        return metrics.get_sample_value(name, {"model": "tiny", **labels})

    refusals = "lora_api_admission_refusals_total"
    assert value(refusals, tier="flex", reason="requests") == 0
    enter = admission.enter
    with (
        enter("tiny", "on_demand", 3),
        enter("tiny", "on_demand", 4),
        enter("tiny", "on_demand", 5),
    ):
        with pytest.raises(ApiError), enter("tiny", "flex", 1):
            pass
        assert value("lora_api_admitted_requests", tier="on_demand") == 3
        assert value("lora_api_admitted_requests_waiting") == 1
        assert value("lora_api_admitted_prompt_tokens") == 12
    assert value("lora_api_admitted_requests", tier="on_demand") == 0
    assert value(refusals, tier="flex", reason="requests") == 1


async def test_samples_follow_the_batch_lane() -> None:
    card = ModelCard("tiny", "system", 100, 100, "fp_0", max_running=1, cache_tokens=100)
    admission, metrics = BoundedAdmission([card], queue=1, reserve=0), CollectorRegistry()
    metrics.register(AdmissionCollector(admission))

    def value(name: str, **labels: str) -> float | None:
        return metrics.get_sample_value(name, {"model": "tiny", **labels})

    async def wait(name: str) -> None:
        async with admission.spare("tiny", Line(name, 1, None, lambda: None)):
            raise AssertionError("there is no place for it")

    async with admission.spare("tiny", Line("first", 1, None, lambda: None)):
        waiting = asyncio.create_task(wait("second"))
        await asyncio.sleep(0)
        assert value("lora_api_admitted_requests", tier="batch") == 1
        assert value("lora_api_batch_lines_waiting") == 1
        assert value("lora_api_batch_lines_displaced_total") == 0
        with admission.enter("tiny", "on_demand", 1):
            assert value("lora_api_batch_lines_displaced_total") == 1
            waiting.cancel()
            await asyncio.wait([waiting])
    assert value("lora_api_batch_lines_waiting") == 0
