"""Values that are each right but cannot hold together: the chart says what to set."""

from typing import Any

import pytest

from tests.helm.release import refusal, rendered

CLAIM = {"type": "existingClaim", "claimName": "shared"}
VECTORS = {"id": "vectors", "task": "embedding", "source": "owner/vectors"}
NAMELESS = {"task": "embedding", "source": "owner/vectors"}
CHAT = {**VECTORS, "id": "llama-3.1-8b-instant"}
KEDA = {"autoscaling": {"kind": "keda"}}


def _catalog(*models: dict[str, str]) -> dict[str, Any]:
    return {"pools": {"vectors": {"catalog": {"models": models}}}}


CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "no pool": ("minimal", {"pools": None}, "name at least one"),
    "no model": ("minimal", {"pools": {"other": {}}}, "pools.other.catalog"),
    "a model of two pools": (
        "keda",
        _catalog(VECTORS, CHAT),
        "pools.vectors.catalog: model llama-3.1-8b-instant is in pools.chat already",
    ),
    "a model twice in a pool": (
        "keda",
        _catalog(VECTORS, VECTORS),
        "pools.vectors.catalog: model vectors is in pools.vectors already",
    ),
    "a model without an id": ("keda", _catalog(VECTORS, NAMELESS), "missing property 'id'"),
    "a default pool that is none": ("keda", {"defaultPool": "chta"}, "no pool chta"),
    "replicas on a database of their own": (
        "keda",
        {"database": {"existingSecret": {"name": ""}}},
        "database.existingSecret.name",
    ),
    "replicas with peppers of their own": (
        "keda",
        {"auth": {"existingSecret": {"name": ""}}},
        "auth.existingSecret.name",
    ),
    "replicas with stores of their own": ("keda", {"store": {"kind": "directory"}}, "store.kind"),
    "state that would go with the pod": (
        "minimal",
        {"pools": {"small": {"data": {"type": "emptyDir"}}}},
        "would be lost",
    ),
    "replicas on one claim": (
        "production",
        {"pools": {"chat": {"data": CLAIM}}},
        "pools.chat.data.type",
    ),
    "a claim without a name": (
        "minimal",
        {"pools": {"small": {"modelCache": {"type": "existingClaim"}}}},
        "pools.small.modelCache.claimName",
    ),
    "S3 without a bucket": ("keda", {"store": {"bucket": ""}}, "store.bucket"),
    "KEDA without Prometheus": ("production", {"pools": {"chat": KEDA}}, "serverAddress"),
    "a least above the most": (
        "production",
        {"pools": {"chat": {"autoscaling": {"minReplicas": 9}}}},
        "minReplicas is more than maxReplicas",
    ),
    "adapters that other nodes cannot read": (
        "multinode",
        {"pools": {"giant": {"data": {"type": "emptyDir"}}}},
        "several nodes can write",
    ),
    "a group without Ray": (
        "production",
        {"pools": {"chat": {"multiNode": {"enabled": True}}}},
        "distributed_executor_backend",
    ),
    "an inference pool without a picker": (
        "production",
        {"pools": {"chat": {"inferencePool": {"enabled": True}}}},
        "endpointPicker.name",
    ),
}


@pytest.mark.parametrize(("name", "values", "said"), CASES.values(), ids=CASES)
def test_the_chart_refuses(name: str, values: dict[str, Any], said: str) -> None:
    assert said in refusal(name, values)


def test_false_and_zero_of_a_pool_overrule_the_defaults() -> None:
    values = {
        "poolDefaults": {"podDisruptionBudget": {"enabled": True}},
        "pools": {
            "chat": {
                "podDisruptionBudget": {"enabled": False},
                "autoscaling": {"timeToFirstTokenSeconds": 0},
            }
        },
    }
    release = rendered("production", values)
    assert not release.all("PodDisruptionBudget")
    assert len(release.one("HorizontalPodAutoscaler")["spec"]["metrics"]) == 1
