"""Rules, dashboards and scraping: what the rest of the repository has, as objects."""

import json
from pathlib import Path

import yaml

from tests.helm.release import CHART, ROOT, helm, rendered, sample

RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml"))
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))


def test_there_are_rules_and_dashboards() -> None:
    assert RULES
    assert DASHBOARDS


def test_the_rules_are_those_of_the_repository() -> None:
    rules = sample("production").all("PrometheusRule").values()
    written = [yaml.safe_load(path.read_text()) for path in RULES]
    assert [rule["spec"] for rule in rules] == written


def test_runbooks_are_found_below_the_given_address() -> None:
    prefix = "https://git.example.com/lora/"
    release = rendered("production", {"prometheusRule": {"runbookPrefix": prefix}})
    links = [
        rule["annotations"]["runbook_url"]
        for item in release.all("PrometheusRule").values()
        for group in item["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert links
    assert all(link.startswith(f"{prefix}docs/") for link in links)


def test_the_dashboards_are_those_of_the_repository() -> None:
    maps = sample("production").all("ConfigMap").values()
    found = {
        name: json.loads(text)
        for item in maps
        if item["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in item["data"].items()
    }
    assert found == {path.name: json.loads(path.read_text()) for path in DASHBOARDS}


def test_a_packaged_chart_brings_them_along(tmp_path: Path) -> None:
    status, _, errors = helm("package", str(CHART), "--destination", str(tmp_path))
    assert status == 0, errors
    (package,) = tmp_path.glob("*.tgz")
    unpacked = {path.name for path in (*RULES, *DASHBOARDS)}
    status, output, errors = helm(
        "template",
        "demo",
        str(package),
        "--values",
        str(CHART / "ci" / "production-values.yaml"),
    )
    assert status == 0, errors
    kinds = [item["kind"] for item in yaml.safe_load_all(output) if item]
    assert kinds.count("PrometheusRule") == len(RULES)
    assert all(name in output for name in unpacked if name.endswith(".json"))


def test_each_pod_is_scraped_once() -> None:
    release = sample("production")
    spec = release.one("ServiceMonitor")["spec"]
    (expression,) = spec["selector"]["matchExpressions"]
    scraped = [
        name
        for name, service in release.all("Service").items()
        if expression["key"] in service["metadata"]["labels"]
    ]
    assert scraped == ["demo-lora-inference-api-chat"]
    (endpoint,) = spec["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
    assert release.one("ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"


def test_nothing_of_it_is_there_unless_asked_for() -> None:
    kinds = {item["kind"] for item in sample("minimal").objects}
    assert not kinds & {"ServiceMonitor", "PrometheusRule"}
    assert not any("dashboard" in name for name in sample("minimal").all("ConfigMap"))
