"""The chart is clean for helm, and valid for every Kubernetes that it says it is for."""

import json
import subprocess
from typing import Any

import pytest
import yaml

from tests.helm.release import CHART, ROOT, TOOLS, VALUES, Release, helm, sample, values_file

VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
OF_OTHERS = {
    "HTTPRoute",
    "InferencePool",
    "LeaderWorkerSet",
    "PrometheusRule",
    "ScaledObject",
    "ServiceMonitor",
}


@pytest.fixture(scope="module")
def checked() -> dict[str, Any]:
    objects = [part for name in VALUES for part in (*sample(name).objects, *_pods(sample(name)))]
    done = subprocess.run(
        [str(TOOLS / "python"), str(ROOT / "tests" / "helm" / "kubernetes_check.py")],
        input=json.dumps({"versions": VERSIONS, "objects": objects}),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout)


def _pods(release: Release) -> list[dict[str, Any]]:
    """Return pods by themselves: those in kinds of others are checked nowhere else."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod.owner["metadata"]["name"], **pod.template["metadata"]},
            "spec": pod.spec,
        }
        for pod in release.pods()
    ]


@pytest.mark.parametrize("name", VALUES)
def test_helm_finds_nothing_to_say_of_the_chart(name: str) -> None:
    status, output, errors = helm("lint", "--strict", str(CHART), "--values", values_file(name))
    assert status == 0, output + errors
    assert "[WARNING]" not in output


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(checked: dict[str, Any], version: str) -> None:
    assert checked["faults"][version] == []


def test_every_version_is_checked_against_its_own_schemas(checked: dict[str, Any]) -> None:
    assert set(VERSIONS) <= set(checked["known_versions"])


def test_only_kinds_of_other_projects_are_unchecked(checked: dict[str, Any]) -> None:
    assert set(checked["unknown"]) == OF_OTHERS


def test_the_oldest_checked_version_is_the_oldest_that_installs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={VERSIONS[0]}.0-0"


def test_names_are_unique_and_short_enough_for_the_names_derived_from_them(
    release: Release,
) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in release.objects]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 63 for _, name in names)
