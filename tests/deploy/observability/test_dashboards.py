"""The dashboards' JSON: current, whole, and of expressions that Prometheus can read."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.build import DIRECTORY, written
from deploy.grafana.panels import COLUMNS, DATASOURCE, SCHEMA
from tests.deploy.observability.boards import BOARDS, Query, queries
from tests.fixtures.prometheus import promtool

NAMES = sorted(BOARDS)


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in BOARDS[name]["panels"] if panel["type"] != "row"]


def test_the_json_is_what_the_code_writes() -> None:
    found = {path.name: path.read_text() for path in DIRECTORY.glob("*.json")}
    assert found == written(), "run `make dashboards`"


def test_prometheus_can_read_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"expression:{number}", "expr": query.substituted}
        for number, query in enumerate(queries())
    ]
    file = tmp_path / "expressions.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = promtool("check", "rules", str(file), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("query", queries(), ids=str)
def test_no_variable_is_left_unknown(query: Query) -> None:
    assert "$" not in query.substituted


@pytest.mark.parametrize("name", NAMES)
def test_panels_lie_side_by_side_and_not_upon_one_another(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", NAMES)
def test_ids_of_panels_are_unique(name: str) -> None:
    ids = [panel["id"] for panel in BOARDS[name]["panels"]]
    assert len({*ids}) == len(ids)


@pytest.mark.parametrize("name", NAMES)
def test_the_reader_chooses_the_data_source(name: str) -> None:
    variables = BOARDS[name]["templating"]["list"]
    assert [each["name"] for each in variables if each["type"] == "datasource"] == ["datasource"]
    sources = [panel["datasource"] for panel in panels(name)]
    sources += [target["datasource"] for panel in panels(name) for target in panel["targets"]]
    sources += [each["datasource"] for each in variables if each["type"] == "query"]
    assert sources == [DATASOURCE] * len(sources)


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_says_what_it_shows(name: str) -> None:
    for panel in panels(name):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["targets"]


@pytest.mark.parametrize("name", NAMES)
def test_every_series_has_a_legend_that_its_expression_gives(name: str) -> None:
    for query in queries(name):
        for label in query.legend_labels:
            assert label in query.expression, f"{query}: {label}"


def test_boards_have_different_ids_and_one_schema() -> None:
    boards = BOARDS.values()
    assert len({board["uid"] for board in boards}) == len(boards)
    assert {board["schemaVersion"] for board in boards} == {SCHEMA}
