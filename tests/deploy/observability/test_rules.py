"""The alerts: promtool takes them, each is proven to fire and not to, and each has its runbook."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.prometheus import promtool

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yaml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks.md"


def alerts() -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def proofs() -> list[dict[str, Any]]:
    tests = [test for path in TESTS for test in yaml.safe_load(path.read_text())["tests"]]
    return [proof for test in tests for proof in test["alert_rule_test"]]


def anchors() -> set[str]:
    """Return the anchors that headings of the runbooks get."""
    headings = re.findall(r"^#+ (.+)$", RUNBOOKS.read_text(), re.MULTILINE)
    return {heading.lower().replace(" ", "-") for heading in headings}


NAMES = [rule["alert"] for rule in alerts()]


def test_promtool_takes_the_rules() -> None:
    done = promtool("check", "rules", *map(str, RULES), cwd=PROMETHEUS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_proves_when_each_alert_fires() -> None:
    done = promtool("test", "rules", *(path.name for path in TESTS), cwd=PROMETHEUS / "tests")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_is_proven_to_fire_and_not_to_fire(name: str) -> None:
    expected = [bool(proof["exp_alerts"]) for proof in proofs() if proof["alertname"] == name]
    assert {*expected} == {True, False}


@pytest.mark.parametrize("rule", alerts(), ids=NAMES)
def test_an_alert_says_how_bad_it_is_and_what_it_means(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}


@pytest.mark.parametrize("rule", alerts(), ids=NAMES)
def test_an_alert_links_to_its_runbook(rule: dict[str, Any]) -> None:
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert ROOT / path == RUNBOOKS
    assert anchor == rule["alert"].lower()
    assert anchor in anchors()


def test_no_runbook_is_of_an_alert_that_is_gone() -> None:
    told = {anchor for anchor in anchors() if anchor.startswith("loraapi")}
    assert told == {name.lower() for name in NAMES}


def test_alert_names_are_unique() -> None:
    assert len({*NAMES}) == len(NAMES)
