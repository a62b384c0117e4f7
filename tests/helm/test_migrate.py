"""The migration runs once before every install and upgrade, with what exists by then."""

from tests.helm.release import Release, rendered, sample

HOOK = "helm.sh/hook"


def _job(release: Release) -> dict:
    return release.one("Job")


def test_it_runs_before_everything_else() -> None:
    annotations = _job(sample("production"))["metadata"]["annotations"]
    assert annotations[HOOK] == "pre-install,pre-upgrade"
    assert "before-hook-creation" in annotations["helm.sh/hook-delete-policy"]


def test_a_failed_one_is_kept_for_its_logs() -> None:
    annotations = _job(sample("production"))["metadata"]["annotations"]
    assert "hook-failed" not in annotations["helm.sh/hook-delete-policy"]


def test_it_needs_nothing_that_the_release_brings() -> None:
    release = sample("production")
    (pod,) = (pod for pod in release.pods() if pod.owner["kind"] == "Job")
    assert pod.spec["serviceAccountName"] not in release.all("ServiceAccount")
    assert [set(volume) for volume in pod.spec["volumes"]] == [{"name", "emptyDir"}]


def test_it_holds_no_secret_but_the_database_s() -> None:
    (pod,) = (pod for pod in sample("production").pods() if pod.owner["kind"] == "Job")
    secrets = {name for name, variable in pod.env.items() if "valueFrom" in variable}
    assert secrets == {"LORA_API_DATABASE__URL"}
    assert pod.container["args"] == ["migrate"]


def test_it_may_reach_the_database_before_the_release_s_policies_are_there() -> None:
    policy = sample("production").all("NetworkPolicy")["demo-lora-inference-api-migrate"]
    job = _job(sample("production"))
    weights = [
        int(item["metadata"]["annotations"]["helm.sh/hook-weight"]) for item in (policy, job)
    ]
    assert weights[0] < weights[1]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    assert ports == {53, 5432}


def test_no_pod_of_it_is_taken_for_a_server() -> None:
    release = sample("production")
    labels = _job(release)["spec"]["template"]["metadata"]["labels"]
    for service in release.all("Service").values():
        assert not service["spec"]["selector"].items() <= labels.items()


def test_the_embedded_database_needs_none() -> None:
    assert not sample("minimal").all("Job")


def test_it_can_be_left_to_somebody_else() -> None:
    assert not rendered("production", {"migrate": {"enabled": False}}).all("Job")


def test_its_image_can_be_the_small_one() -> None:
    release = rendered("production", {"migrate": {"variant": "cpu"}})
    (pod,) = (pod for pod in release.pods() if pod.owner["kind"] == "Job")
    assert pod.container["image"].endswith("-cpu")
