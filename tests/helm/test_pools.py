"""Several pools: each knows and reaches the others, and all of them answer at the main host."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from app.settings import PoolSettings
from tests.helm.environment import settings_of
from tests.helm.release import (
    CHART,
    NAMESPACE,
    Object,
    Release,
    helm,
    matches,
    rendered,
    sample,
    values_file,
)

NAME = "demo-lora-inference-api"
MODELS = {
    "chat": {"llama-3.3-70b-versatile"},
    "speech": {"whisper-large-v3-turbo"},
    "vectors": {"qwen3-embedding-0.6b", "qwen3-reranker-4b"},
}
TINY = {"id": "tiny", "task": "embedding", "source": "owner/tiny"}
MINI = {**TINY, "id": "mini"}


def _with_small(*models: dict[str, Any]) -> dict[str, Any]:
    """Return values with a further pool of these models."""
    return {"pools": {"small": {"catalog": {"models": models}}}}


def _others(release: Release, pool: str) -> tuple[PoolSettings, ...]:
    return settings_of(release.servers()[pool]).pools


@pytest.mark.parametrize("pool", MODELS)
def test_a_pool_is_told_the_models_of_every_other_and_not_its_own(pool: str) -> None:
    told = {urlsplit(other.url).hostname: other for other in _others(sample("gpu-pools"), pool)}
    assert {host: set(other.models) for host, other in told.items()} == {
        f"{NAME}-{other}.{NAMESPACE}.svc": models
        for other, models in MODELS.items()
        if other != pool
    }


@pytest.mark.parametrize("pool", MODELS)
def test_the_other_pools_are_at_the_port_of_services_that_lead_to_them(pool: str) -> None:
    release = rendered("gpu-pools", {"service": {"port": 8080}})
    for other in _others(release, pool):
        place = urlsplit(other.url)
        assert place.hostname is not None
        service = release.all("Service")[place.hostname.split(".")[0]]
        assert place.port == service["spec"]["ports"][0]["port"] == 8080
        selected = service["spec"]["selector"]["lora-inference-api/pool"]
        assert set(other.models) == MODELS[selected]


@pytest.mark.parametrize("name", ["minimal", "production", "keda", "multinode"])
def test_one_pool_is_told_of_no_others(name: str) -> None:
    assert not [pod for pod in sample(name).pods() if "LORA_API_POOLS" in pod.env]


def test_the_order_of_a_catalog_does_not_replace_the_pods_of_other_pools() -> None:
    before, after = (rendered("keda", _with_small(*m)) for m in ((MINI, TINY), (TINY, MINI)))
    assert before.servers()["chat"].template == after.servers()["chat"].template


def test_a_model_more_in_one_pool_replaces_the_pods_of_all() -> None:
    before, after = (rendered("keda", _with_small(*m)) for m in ((MINI,), (MINI, TINY)))
    for pool in ("chat", "small"):
        assert before.servers()[pool].template != after.servers()[pool].template


def test_what_else_a_catalog_says_replaces_the_pods_of_its_pool_only() -> None:
    shorter = {**TINY, "context_window": 512}
    before, after = (rendered("keda", _with_small(model)) for model in (TINY, shorter))
    assert before.servers()["chat"].template == after.servers()["chat"].template
    assert before.servers()["small"].template != after.servers()["small"].template


def test_every_pool_works_on_batches_unless_it_is_told_not_to() -> None:
    off = {"pools": {"speech": {"settings": {"batches": {"enabled": False}}}}}
    release = rendered("gpu-pools", off)
    works = {pool: settings_of(pod).batches.enabled for pool, pod in release.servers().items()}
    assert works == {"chat": True, "speech": False, "vectors": True}


def _behind_the_main_service(release: Release) -> set[str]:
    selector = release.all("Service")[NAME]["spec"]["selector"]
    return {pool for pool, pod in release.servers().items() if matches(selector, pod.labels)}


def test_every_pool_answers_at_the_main_service() -> None:
    assert _behind_the_main_service(sample("gpu-pools")) == MODELS.keys()


def test_the_default_pool_answers_there_alone() -> None:
    release = rendered("gpu-pools", {"defaultPool": "vectors"})
    assert _behind_the_main_service(release) == {"vectors"}


def test_routes_by_model_lead_to_every_pool_and_all_else_to_the_main_service() -> None:
    release = rendered("gateway", {"defaultPool": ""})
    chat, vectors, rest = release.all("HTTPRoute")[NAME]["spec"]["rules"]
    assert chat["backendRefs"][0]["kind"] == "InferencePool"
    assert vectors["backendRefs"] == [{"name": f"{NAME}-vectors", "port": 80}]
    assert all("headers" in match for rule in (chat, vectors) for match in rule["matches"])
    assert rest["backendRefs"] == [{"name": NAME, "port": 80}]
    assert not any("headers" in match for match in rest["matches"])


@pytest.fixture(scope="module")
def groups() -> Release:
    """A pool of several nodes and a small one beside it."""
    return rendered("multinode", _with_small(TINY))


def test_groups_and_other_pools_know_one_another(groups: Release) -> None:
    (small,) = _others(groups, "giant")
    (giant,) = _others(groups, "small")
    assert (small.models, giant.models) == (("tiny",), ("llama-3.1-405b",))
    service = groups.all("Service")[urlsplit(giant.url).netloc.split(".")[0]]
    assert service["spec"]["selector"]["leaderworkerset.sigs.k8s.io/worker-index"] == "0"


def test_workers_of_a_group_neither_answer_nor_need_to_know_other_pools(groups: Release) -> None:
    (worker,) = (pod for pod in groups.pods() if pod.container["name"] == "worker")
    assert "LORA_API_POOLS" not in worker.env
    selector = groups.all("Service")[NAME]["spec"]["selector"]
    assert not selector.items() <= worker.labels.items()
    assert _behind_the_main_service(groups) == {"giant", "small"}


def _policy(release: Release, pool: str) -> Object:
    return release.all("NetworkPolicy")[f"{NAME}-{pool}"]["spec"]


def _pools_among(peers: list[dict[str, Any]], release: Release) -> set[str]:
    """Return the pools whose pods a policy's peers take."""
    taken = set()
    for peer in peers:
        selector = peer.get("podSelector", {})
        expressions = selector.get("matchExpressions", [])
        assert all(expression["operator"] == "In" for expression in expressions)
        for pool, pod in release.servers().items():
            named = all(pod.labels[e["key"]] in e["values"] for e in expressions)
            if expressions and named and matches(selector["matchLabels"], pod.labels):
                taken.add(pool)
    return taken


@pytest.mark.parametrize("pool", MODELS)
def test_pods_may_reach_the_port_of_other_pools(pool: str) -> None:
    release = sample("gpu-pools")
    port = release.servers()[pool].container["ports"][0]["containerPort"]
    only = [{"protocol": "TCP", "port": port}]
    (rule,) = (rule for rule in _policy(release, pool)["egress"] if rule["ports"] == only)
    assert _pools_among(rule["to"], release) == MODELS.keys() - {pool}


@pytest.mark.parametrize("pool", MODELS)
def test_other_pools_may_come_in_where_few_others_may(pool: str) -> None:
    front = {"namespaceSelector": {"matchLabels": {"name": "front"}}}
    release = rendered("gpu-pools", {"networkPolicy": {"ingressFrom": [front]}})
    rule, *others = _policy(release, pool)["ingress"]
    assert not others
    assert front in rule["from"]
    assert len(rule["from"]) == 2
    assert _pools_among(rule["from"], release) == MODELS.keys() - {pool}


def test_one_pool_s_policy_lets_no_pods_of_the_release_through() -> None:
    release = sample("production")
    policy = _policy(release, "chat")
    assert 8000 not in {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert not any("podSelector" in peer for peer in policy["ingress"][0]["from"])


def _notes(name: str, values: dict[str, Any]) -> str:
    """Return what helm says after it has installed the chart."""
    place = ("install", "demo", str(CHART), "--dry-run=client", "--namespace", NAMESPACE)
    status, output, errors = helm(*place, "--values", values_file(name), values=values)
    assert status == 0, errors
    return output.partition("NOTES:")[2]


def test_who_installs_several_pools_is_told_how_they_answer_and_their_hosts() -> None:
    notes = _notes("gpu-pools", {})
    assert "Every pool answers for all models" in notes
    assert "\n  speech: speech.example.com\n  vectors: vectors.example.com\n" in notes


def test_who_installs_one_pool_hears_nothing_of_others() -> None:
    assert "pool answers" not in _notes("production", {})
