"""The dashboards and alerts at a real server: Prometheus scrapes it, and every panel has data."""

import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.observability.boards import Query, queries
from tests.deploy.observability.test_rules import RULES, alerts
from tests.e2e import dashboard_load
from tests.fixtures.prometheus import Prometheus, running_prometheus
from tests.fixtures.server import running_server, tiny_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

MOST_SECONDS = 60.0
OR_ZERO = " or vector(0)"
DOWN = {
    "LoraApiGone",
    "LoraApiNoReplicaReady",
    "LoraApiReplicaNotReady",
    "LoraApiReplicaDown",
    "LoraApiEngineDown",
    "LoraApiDatabaseDown",
    "LoraApiStoreDown",
    "LoraApiBucketSyncLate",
}


@dataclass(frozen=True)
class Scene:
    """A server under load that is scraped since `began`, Unix seconds."""

    prometheus: Prometheus
    adapters: list[str]
    began: float


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path) -> Iterator[Scene]:
    room = tmp_path_factory.mktemp("dashboards")
    settings = dashboard_load.settings(room / "plans.yaml")
    models = [tiny_model(tiny_llama_directory)]
    began = time.time()
    with (
        running_server(models, room / "server", **settings) as server,
        running_prometheus(room, server.url, RULES) as prometheus,
        dashboard_load.load(server, room) as adapters,
    ):
        yield Scene(prometheus, adapters, began)


def has_data(scene: Scene, query: Query) -> bool:
    """Tell whether a panel would show a number; zeros that are only written in do not count."""
    expression = query.substituted.replace(OR_ZERO, "")
    return any(math.isfinite(value) for value in numbers(scene, expression, query.is_range))


def numbers(scene: Scene, expression: str, is_range: bool) -> list[float]:
    """Return every value that an expression has, as Grafana would ask for it."""
    ask = scene.prometheus.ask
    if not is_range:
        found = ask("query", query=expression)["result"]
        return [float(series["value"][1]) for series in found]
    span = {"start": str(scene.began), "end": str(time.time()), "step": "2"}
    found = ask("query_range", query=expression, **span)["result"]
    return [float(value) for series in found for _, value in series["values"]]


def until(is_true: Callable[[], bool]) -> bool:
    """Tell whether it becomes true in time; only asking tells what another process has read."""
    deadline = time.monotonic() + MOST_SECONDS
    while not (found := is_true()) and time.monotonic() < deadline:
        time.sleep(1)
    return found


def test_every_expression_of_every_dashboard_has_data(scene: Scene) -> None:
    empty = queries()

    def all_have_data() -> bool:
        empty[:] = [query for query in empty if not has_data(scene, query)]
        return not empty

    until(all_have_data)
    assert not [f"{query}: {query.expression}" for query in empty]


def test_adapters_and_organisations_are_told_apart(scene: Scene) -> None:
    def labels(expression: str, label: str) -> set[str]:
        found = scene.prometheus.ask("query", query=f"sum by ({label}) ({expression}) > 0")
        return {series["metric"][label] for series in found["result"]}

    assert until(lambda: labels("lora_api_adapter_tokens_total", "adapter") == {*scene.adapters})
    assert until(lambda: len(labels("lora_api_organization_tokens_total", "organization")) == 2)
    refused = labels("lora_api_rate_limit_refusals_total", "organization")
    assert len(refused) == 1
    assert refused < labels("lora_api_organization_tokens_total", "organization")


def test_every_alert_asks_for_metrics_that_the_server_has(scene: Scene) -> None:
    told = scene.prometheus.ask("metadata").keys()
    for rule in alerts():
        for name in re.findall(r"\b(?:lora_api|process)_\w+", rule["expr"]):
            assert name.removesuffix("_bucket") in told, f"{rule['alert']}: {name}"


def test_every_alert_can_be_evaluated_on_what_the_server_tells(scene: Scene) -> None:
    def rules() -> list[dict[str, Any]]:
        groups = scene.prometheus.ask("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    assert until(lambda: all(rule["health"] != "unknown" for rule in rules()))
    health = {rule["name"]: (rule["health"], rule.get("lastError")) for rule in rules()}
    assert health == {rule["alert"]: ("ok", None) for rule in alerts()}


def test_nothing_is_said_to_be_down_while_all_is_well(scene: Scene) -> None:
    def active() -> set[str]:
        found = scene.prometheus.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in found}

    assert until(lambda: not active() & DOWN)
