"""Pods: confined, probed, ended with patience, with room where they write."""

import re
import tomllib

import pytest
import yaml

from app.cli.serve import CANCEL_AFTER_DRAIN_SECONDS
from tests.helm.release import CHART, ROOT, Pod, Release, rendered, sample

CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "privileged": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
DIRECTORIES = ("_DIR", "_HOME", "_ROOT", "_BASE", "_PATH")


def test_every_container_is_confined(release: Release) -> None:
    for pod in release.pods():
        assert "initContainers" not in pod.spec
        assert pod.container["securityContext"] == CONFINED


def test_no_pod_is_root_or_talks_to_the_cluster(release: Release) -> None:
    for pod in release.pods():
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"]
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (10001,) * 3
        assert pod.spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()


def test_no_pod_gets_variables_of_services_which_may_look_like_unknown_settings(
    release: Release,
) -> None:
    assert all(pod.spec["enableServiceLinks"] is False for pod in release.pods())


def test_images_are_of_the_chart_s_release_and_named_by_variant(release: Release) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    allowed = {f"lora-inference-api:{version}-{variant}" for variant in ("cpu", "gpu")}
    assert {pod.container["image"] for pod in release.pods()} <= allowed


def test_the_chart_is_for_the_release_beside_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == project["version"]


def test_the_image_has_the_user_the_port_and_the_command_that_the_chart_counts_on() -> None:
    image = (ROOT / "deploy" / "Dockerfile").read_text()
    pod = sample("production").servers()["chat"]
    user = pod.spec["securityContext"]["runAsUser"]
    port = pod.container["ports"][0]["containerPort"]
    assert re.search(rf"^USER {user}(:{user})?$", image, re.MULTILINE)
    assert re.search(rf"^EXPOSE {port}$", image, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["/usr/bin/tini", "--", ".*lora-api"\]$', image, re.MULTILINE)
    assert pod.container["args"] == ["serve"]


def test_a_digest_takes_the_place_of_the_tag() -> None:
    digest = "sha256:" + "a" * 64
    release = rendered("minimal", {"image": {"digests": {"cpu": digest}}})
    assert release.servers()["small"].container["image"] == f"lora-inference-api@{digest}"


def test_the_grace_period_outlasts_sleep_drain_and_what_comes_after(release: Release) -> None:
    for pod in release.servers().values():
        sleep = _sleep(pod)
        drain = float(pod.env["LORA_API_SERVER__DRAIN_SECONDS"]["value"])
        last_answer = sleep + drain + CANCEL_AFTER_DRAIN_SECONDS
        assert sleep >= 1
        assert pod.spec["terminationGracePeriodSeconds"] >= last_answer + 10


def test_a_worker_of_a_group_outlives_its_leader_s_last_answer() -> None:
    leader, worker = (pod for pod in sample("multinode").pods() if pod.owner["kind"] != "Job")
    drain = float(leader.env["LORA_API_SERVER__DRAIN_SECONDS"]["value"])
    last_answer = _sleep(leader) + drain + CANCEL_AFTER_DRAIN_SECONDS
    assert last_answer <= _sleep(worker) < worker.spec["terminationGracePeriodSeconds"]


def _sleep(pod: Pod) -> int:
    program, seconds = pod.container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    return int(seconds)


def test_probes_ask_the_service_s_own_routes(release: Release) -> None:
    for pod in release.servers().values():
        paths = {
            name: pod.container[name]["httpGet"]["path"]
            for name in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert paths == {
            "startupProbe": "/health/live",
            "livenessProbe": "/health/live",
            "readinessProbe": "/health/ready",
        }


def test_a_pod_may_load_models_as_long_as_its_pool_says() -> None:
    pod = sample("multinode").servers()["giant"]
    probe = pod.container["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 7200


def test_an_upgrade_waits_longer_than_models_load() -> None:
    deployment = sample("keda").one("Deployment")
    probe = deployment["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    loading = probe["failureThreshold"] * probe["periodSeconds"]
    assert deployment["spec"]["progressDeadlineSeconds"] > loading


def test_whatever_is_written_lies_on_a_volume(release: Release) -> None:
    for pod in release.pods():
        mounts = {
            mount["mountPath"]
            for mount in pod.container["volumeMounts"]
            if not mount.get("readOnly")
        }
        assert "/tmp" in mounts
        for name, variable in pod.env.items():
            if name.endswith(DIRECTORIES) or name == "HOME":
                assert any(f"{variable['value']}/".startswith(f"{m}/") for m in mounts), name


def test_mounts_name_volumes_and_volumes_are_mounted(release: Release) -> None:
    for pod in release.pods():
        mounted = {mount["name"] for mount in pod.container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod.spec["volumes"]}


def test_claims_that_the_chart_mounts_are_its_own_or_named_by_the_user() -> None:
    release = sample("minimal")
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in release.servers()["small"].spec["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims == set(release.all("PersistentVolumeClaim"))


def test_a_server_with_a_claim_stops_before_the_next_starts() -> None:
    assert sample("minimal").one("Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_other_servers_are_replaced_without_a_gap() -> None:
    rolling = sample("production").one("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}


def test_gpu_pools_ask_for_gpus_and_bear_their_taint_and_cpu_pools_do_neither() -> None:
    servers = sample("gpu-pools").servers()
    chat, speech = servers["chat"], servers["speech"]
    assert chat.container["resources"]["limits"] == {"nvidia.com/gpu": 2}
    assert {t["key"] for t in chat.spec["tolerations"]} == {"nvidia.com/gpu"}
    assert {t["key"] for t in servers["vectors"].spec["tolerations"]} == {"spot", "nvidia.com/gpu"}
    assert "limits" not in speech.container["resources"]
    assert "tolerations" not in speech.spec


def test_a_changed_catalog_replaces_the_pods() -> None:
    changed = {"pools": {"small": {"files": {"template.jinja": "{{ x }}"}}}}
    before, after = sample("minimal"), rendered("minimal", changed)
    assert _checksum(before) != _checksum(after)
    assert _checksum(before) == _checksum(rendered("minimal", {"ingress": {"enabled": True}}))


def _checksum(release: Release) -> str:
    return release.servers()["small"].template["metadata"]["annotations"]["checksum/config"]


def test_pods_are_spread_over_nodes_and_zones() -> None:
    constraints = sample("production").servers()["chat"].spec["topologySpreadConstraints"]
    assert {c["topologyKey"]: c["whenUnsatisfiable"] for c in constraints} == {
        "kubernetes.io/hostname": "DoNotSchedule",
        "topology.kubernetes.io/zone": "ScheduleAnyway",
    }


def test_the_cluster_may_choose_who_pods_are() -> None:
    nobody = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    pod = rendered("minimal", {"securityContext": nobody}).servers()["small"]
    assert pod.spec["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@pytest.mark.parametrize("part", ["leaderTemplate", "workerTemplate"])
def test_processes_of_a_group_meet_at_the_leader_s_ray(part: str) -> None:
    group = sample("multinode").one("LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]
    pod = Pod({}, group[part])
    assert group["size"] == 2
    assert pod.env["RAY_ADDRESS"]["value"] == "$(LWS_LEADER_ADDRESS):6379"
    (data,) = (m for m in pod.container["volumeMounts"] if m["name"] == "data")
    assert data["subPathExpr"] == "$(LWS_LEADER_ADDRESS)"


def test_only_leaders_hold_the_secrets_of_the_service() -> None:
    leader, worker = (pod for pod in sample("multinode").pods() if pod.owner["kind"] != "Job")
    secret = "LORA_API_DATABASE__URL"
    assert secret in leader.env
    assert not any(
        "valueFrom" in v and "secretKeyRef" in v["valueFrom"] for v in worker.env.values()
    )
