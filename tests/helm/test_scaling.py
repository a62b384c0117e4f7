"""Scaling: on metrics that exist, up to the bounds, with patience on the way down."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from app.inference.admission import BoundedAdmission
from app.observability.admission import AdmissionCollector
from app.observability.metrics import Metrics
from tests.helm.release import NAMESPACE, Release, rendered, sample


def _known_metrics() -> str:
    """Return what the service and vLLM call their metrics, as text to look in."""
    admission = AdmissionCollector(BoundedAdmission((), queue=1, reserve=0, batch_share=1))
    families = [*Metrics().registry.collect(), *admission.collect()]
    vllm = find_spec("vllm")
    assert vllm is not None
    assert vllm.origin is not None
    loggers = Path(vllm.origin).parent / "v1" / "metrics" / "loggers.py"
    return " ".join(f'"{family.name}"' for family in families) + loggers.read_text()


def _queries() -> list[str]:
    triggers = sample("keda").one("ScaledObject")["spec"]["triggers"]
    return [trigger["metadata"]["query"] for trigger in triggers]


def test_keda_asks_for_metrics_that_exist() -> None:
    names = {re.search(r"(lora_api_\w+|vllm:\w+)\{", query)[1] for query in _queries()}
    known = _known_metrics()
    assert len(names) == 3
    assert all(f'"{name.removesuffix("_bucket")}"' in known for name in names)


def test_keda_asks_for_the_pool_s_own_pods() -> None:
    series = f'{{namespace="{NAMESPACE}",service="demo-lora-inference-api-chat"}}'
    assert all(series in query for query in _queries())
    assert "demo-lora-inference-api-chat" in sample("keda").all("Service")


def test_keda_compares_the_queue_by_replica_and_the_time_as_it_is() -> None:
    triggers = sample("keda").one("ScaledObject")["spec"]["triggers"]
    assert [(t["metricType"], t["metadata"]["threshold"]) for t in triggers] == [
        ("AverageValue", "6"),
        ("AverageValue", "6"),
        ("Value", "1.5"),
    ]


def test_no_traffic_is_no_reason_to_scale() -> None:
    assert _queries()[2].endswith(">= 0 or vector(0)")


def test_the_autoscaler_has_the_queue_and_the_time_to_first_token() -> None:
    metrics = sample("production").one("HorizontalPodAutoscaler")["spec"]["metrics"]
    targets = {m["pods"]["metric"]["name"]: m["pods"]["target"]["averageValue"] for m in metrics}
    assert targets == {
        "lora_api_admitted_requests_waiting": "4",
        "lora_api_time_to_first_token_seconds_p95": "2000m",
    }


@pytest.mark.parametrize("name", ["production", "keda"])
def test_what_scales_a_pool_finds_it_and_nothing_else_counts_its_replicas(name: str) -> None:
    release = sample(name)
    (target,) = _targets(release)
    deployment = release.all(target["kind"])[target["name"]]
    assert deployment["apiVersion"] == target["apiVersion"]
    assert "replicas" not in deployment["spec"]


def test_groups_scale_too() -> None:
    scaled = {"pools": {"giant": {"autoscaling": {"kind": "hpa"}}}}
    release = rendered("multinode", scaled)
    (target,) = _targets(release)
    assert target["kind"] == "LeaderWorkerSet"
    assert target["name"] in release.all("LeaderWorkerSet")


def _targets(release: Release) -> list[dict[str, str]]:
    kinds = ("HorizontalPodAutoscaler", "ScaledObject")
    return [o["spec"]["scaleTargetRef"] for o in release.objects if o["kind"] in kinds]


def test_a_pool_that_nothing_scales_says_its_replicas() -> None:
    deployments = sample("gpu-pools").all("Deployment")
    replicas = {name: item["spec"]["replicas"] for name, item in deployments.items()}
    prefix = "demo-lora-inference-api-"
    assert replicas == {f"{prefix}chat": 2, f"{prefix}vectors": 2, f"{prefix}speech": 1}


def test_replicas_go_one_at_a_time() -> None:
    behavior = sample("production").one("HorizontalPodAutoscaler")["spec"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 600
    assert [policy["value"] for policy in behavior["scaleDown"]["policies"]] == [1]


def test_pods_that_serve_nobody_do_not_hold_up_a_drain(release: Release) -> None:
    for budget in release.all("PodDisruptionBudget").values():
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        assert budget["spec"]["maxUnavailable"] == 1
