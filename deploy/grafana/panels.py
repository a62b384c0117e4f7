"""Grafana's JSON of a dashboard, of the few kinds of panels that these dashboards need.

Written for schema version 39, that of Grafana 11, which later versions read as well. Every panel
asks the data source that the reader chooses; none is named here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
Unit = Literal["short", "s", "bytes", "percentunit", "reqps", "none", "dtdurations"]
Kind = Literal["timeseries", "stat", "table"]
Mode = Literal["below", "above"]

SCHEMA = 39
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
REPLICA = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
"""Selects the replicas that the reader has chosen; `$R` in expressions stands for it."""
VARIABLES = {
    "namespace": "label_values(lora_api_ready, namespace)",
    "job": 'label_values(lora_api_ready{namespace=~"$namespace"}, job)',
    "instance": 'label_values(lora_api_ready{namespace=~"$namespace",job=~"$job"}, instance)',
    "model": f"label_values(lora_api_engine_up{{{REPLICA}}}, model)",
}


@dataclass(frozen=True)
class Panel:
    """One panel. `queries` are pairs of an expression and the legend of its series.

    `bad` colours a value red from there on: above it, or below it where so told.
    """

    title: str
    description: str
    queries: Sequence[tuple[str, str]]
    unit: Unit = "short"
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    bad: tuple[Mode, float] | None = None
    decimals: int | None = None


Row = tuple[str, Sequence[Panel]]


def stat(
    title: str,
    description: str,
    expression: str,
    *,
    unit: Unit = "short",
    bad: tuple[Mode, float] | None = None,
    decimals: int | None = None,
) -> Panel:
    """Return a panel of one number."""
    return Panel(
        title,
        description,
        [(expression, "")],
        unit=unit,
        kind="stat",
        width=3,
        height=4,
        bad=bad,
        decimals=decimals,
    )


def dashboard(uid: str, title: str, description: str, rows: Sequence[Row]) -> Json:
    """Return the JSON of a dashboard with its panels in rows, each under its title."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["lora-api"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "fiscalYearStartMonth": 0,
        "annotations": {"list": []},
        "links": [_link()],
        "templating": {"list": [_datasource(), *map(_variable, VARIABLES.items())]},
        "panels": _placed(rows),
    }


def expressions(board: Json) -> list[str]:
    """Return every expression of a dashboard, as it is written."""
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]


def _placed(rows: Sequence[Row]) -> list[Json]:
    panels: list[Json] = []
    top = 0
    for title, members in rows:
        panels.append(_row(len(panels) + 1, title, top))
        top += 1
        left = tallest = 0
        for panel in members:
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            place = {"h": panel.height, "w": panel.width, "x": left, "y": top}
            panels.append(_panel(len(panels) + 1, panel, place))
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return panels


def _row(id: int, title: str, top: int) -> Json:
    place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
    return {
        "id": id,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": place,
        "panels": [],
    }


def _panel(id: int, panel: Panel, place: Json) -> Json:
    return {
        "id": id,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": [_target(number, panel, query) for number, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
        **({"transformations": _TABLE} if panel.kind == "table" else {}),
    }


def _target(number: int, panel: Panel, query: tuple[str, str]) -> Json:
    expression, legend = query
    is_range = panel.kind == "timeseries"
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expression.replace("$R", REPLICA),
        "legendFormat": legend,
        "range": is_range,
        "instant": not is_range,
        "format": "table" if panel.kind == "table" else "time_series",
    }


def _field(panel: Panel) -> Json:
    field: Json = {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": _steps(panel.bad)},
        "mappings": [],
    }
    if panel.decimals is not None:
        field["decimals"] = panel.decimals
    if panel.kind == "timeseries":
        field["min"] = 0
        field["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if panel.stacked else 5,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    return field


def _steps(bad: tuple[Mode, float] | None) -> list[Json]:
    if bad is None:
        return [{"color": "green", "value": None}]
    mode, value = bad
    first, second = ("green", "red") if mode == "above" else ("red", "green")
    return [{"color": first, "value": None}, {"color": second, "value": value}]


_CALCULATED = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[Kind, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": _CALCULATED,
        "textMode": "auto",
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
}
_TABLE: list[Json] = [
    {"id": "merge", "options": {}},
    {"id": "organize", "options": {"excludeByName": {"Time": True}}},
]


def _datasource() -> Json:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "refresh": 1,
        "regex": "",
        "includeAll": False,
        "multi": False,
        "options": [],
    }


def _variable(named: tuple[str, str]) -> Json:
    name, query = named
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        # Matches everything, also where targets have no such label.
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "includeAll": True,
        "multi": True,
        "options": [],
    }


def _link() -> Json:
    return {
        "title": "LoRA Inference API",
        "type": "dashboards",
        "tags": ["lora-api"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
