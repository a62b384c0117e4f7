"""Who reaches what: services, routes, and the policy around pods."""

from typing import Any

import pytest

from tests.helm.release import Object, Pod, Release, matches, rendered, sample


def test_every_selector_takes_the_pods_of_its_pool_and_no_others(release: Release) -> None:
    servers = release.servers()
    for item in release.objects:
        selector = _selector(item)
        if selector and "lora-inference-api/pool" in selector:
            taken = {pool for pool, pod in servers.items() if matches(selector, pod.labels)}
            assert taken == {selector["lora-inference-api/pool"]}, item["metadata"]["name"]


def _selector(item: Object) -> dict[str, str] | None:
    spec = item.get("spec", {})
    match item["kind"]:
        case "Service":
            return spec["selector"]
        case "NetworkPolicy":
            return spec["podSelector"]["matchLabels"]
        case "Deployment" | "PodDisruptionBudget" | "InferencePool":
            return spec["selector"]["matchLabels"]
    return None


def test_every_pool_has_a_workload_a_service_a_budget_and_a_policy(release: Release) -> None:
    kinds = ("Service", "PodDisruptionBudget", "NetworkPolicy")
    for pool in release.servers():
        for kind in kinds:
            assert f"demo-lora-inference-api-{pool}" in release.all(kind)


def test_services_lead_to_the_http_port(release: Release) -> None:
    for service in release.all("Service").values():
        (port,) = service["spec"]["ports"]
        assert (port["name"], port["targetPort"]) == ("http", "http")
        assert not service["spec"].get("publishNotReadyAddresses")
    for pod in release.servers().values():
        assert [port["name"] for port in pod.container["ports"]] == ["http"]


def test_a_service_of_a_group_leads_to_leaders_only() -> None:
    for service in sample("multinode").all("Service").values():
        assert service["spec"]["selector"]["leaderworkerset.sigs.k8s.io/worker-index"] == "0"


def test_each_pool_has_its_host() -> None:
    rules = sample("gpu-pools").one("Ingress")["spec"]["rules"]
    assert {rule["host"]: _backends(rule) for rule in rules} == {
        "api.example.com": {"demo-lora-inference-api"},
        "speech.example.com": {"demo-lora-inference-api-speech"},
        "vectors.example.com": {"demo-lora-inference-api-vectors"},
    }


def _backends(rule: dict[str, Any]) -> set[str]:
    return {path["backend"]["service"]["name"] for path in rule["http"]["paths"]}


def test_ingress_leads_to_services_that_exist_and_has_a_certificate_for_each_host() -> None:
    release = sample("production")
    spec = release.one("Ingress")["spec"]
    assert set().union(*map(_backends, spec["rules"])) <= release.all("Service").keys()
    assert spec["tls"] == [{"secretName": "api-example-com", "hosts": ["api.example.com"]}]


def test_neither_metrics_nor_health_can_be_reached_from_outside(release: Release) -> None:
    paths = {
        path["path"]
        for ingress in release.all("Ingress").values()
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    } | {
        match["path"]["value"]
        for route in release.all("HTTPRoute").values()
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
    }
    assert paths <= {"/openai/v1", "/v1"}


def _rules() -> list[Object]:
    return sample("gateway").all("HTTPRoute")["demo-lora-inference-api"]["spec"]["rules"]


def test_a_route_by_model_reaches_the_model_s_pool_and_all_else_the_default_pool() -> None:
    vectors, rest = _rules()
    assert vectors["backendRefs"] == [{"name": "demo-lora-inference-api-vectors", "port": 80}]
    headers = {(h["type"], h["value"]) for m in vectors["matches"] for h in m["headers"]}
    assert headers == {
        ("Exact", "qwen3-embedding-0.6b"),
        ("RegularExpression", r"ft:qwen3-embedding-0\.6b:.+"),
    }
    assert not any("headers" in match for match in rest["matches"])
    (backend,) = rest["backendRefs"]
    assert backend["kind"] == "InferencePool"


def test_routes_lead_to_what_exists() -> None:
    release = sample("gateway")
    backends = {
        (backend.get("kind", "Service"), backend["name"])
        for route in release.all("HTTPRoute").values()
        for rule in route["spec"]["rules"]
        for backend in rule["backendRefs"]
    }
    assert all(name in release.all(kind) for kind, name in backends)


def test_routes_do_not_cut_long_streams() -> None:
    assert all(rule["timeouts"] == {"request": "0s"} for rule in _rules())


def test_an_inference_pool_leads_to_the_port_that_pods_listen_at() -> None:
    release = sample("gateway")
    pool = release.one("InferencePool")["spec"]
    (port,) = release.servers()["chat"].container["ports"]
    assert pool["targetPorts"] == [{"number": port["containerPort"]}]
    assert pool["endpointPickerRef"]["name"] == "chat-picker"


def test_only_the_http_port_is_open(release: Release) -> None:
    for policy in _policies(release):
        first, *others = policy["ingress"]
        assert first["ports"] == [{"protocol": "TCP", "port": "http"}]
        for rule in others:
            selector = rule["from"][0]["podSelector"]["matchLabels"]
            assert selector == policy["podSelector"]["matchLabels"]
        assert bool(others) is any(
            p.owner["kind"] == "LeaderWorkerSet" for p in _of(release, policy)
        )


def _of(release: Release, policy: Object) -> list[Pod]:
    selector = policy["podSelector"]["matchLabels"]
    return [pod for pod in release.pods() if matches(selector, pod.labels)]


def _policies(release: Release) -> list[Object]:
    """Return the policies of pools."""
    policies = release.all("NetworkPolicy").values()
    return [p["spec"] for p in policies if not p["metadata"]["name"].endswith("-migrate")]


def test_every_policy_restricts_both_ways(release: Release) -> None:
    for policy in release.all("NetworkPolicy").values():
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


EGRESS = {
    "minimal": {53, 443},
    "production": {53, 443, 5432, 6379},
    "gpu-pools": {53, 443, 5432, 6379, 8000, 8333},
    "gateway": {53, 443, 5432, 80, 988, 8000},
}


@pytest.mark.parametrize(("name", "ports"), EGRESS.items())
def test_pods_reach_what_they_use_and_nothing_else(name: str, ports: set[int]) -> None:
    for policy in _policies(sample(name)):
        assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == ports


def test_the_metadata_address_is_open_only_where_it_is_asked_for() -> None:
    (rule,) = (
        rule
        for rule in _policies(sample("gateway"))[0]["egress"]
        if {port["port"] for port in rule["ports"]} == {80, 988}
    )
    assert rule["to"] == [{"ipBlock": {"cidr": "169.254.0.0/16"}}]


def test_https_can_be_closed_but_for_the_store() -> None:
    store = [{"ipBlock": {"cidr": "10.9.0.0/16"}}]
    egress = {"https": False, "storeTo": store}
    release = rendered("production", {"networkPolicy": {"egress": egress}})
    (rule,) = (
        rule
        for rule in _policies(release)[0]["egress"]
        if 443 in {port["port"] for port in rule["ports"]}
    )
    assert rule["to"] == store


def test_peers_narrow_who_is_reached_and_who_may_come() -> None:
    (policy,) = _policies(sample("production"))
    database = next(r for r in policy["egress"] if r["ports"][0]["port"] == 5432)
    assert database["to"] == [{"ipBlock": {"cidr": "10.20.0.0/16"}}]
    assert len(policy["ingress"][0]["from"]) == 2


def test_no_service_has_the_name_under_which_a_group_s_pods_find_one_another() -> None:
    release = sample("multinode")
    assert not release.all("LeaderWorkerSet").keys() & release.all("Service").keys()
