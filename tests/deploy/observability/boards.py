"""The committed dashboards, and what Grafana would ask of Prometheus for them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.grafana.build import DIRECTORY

VARIABLES = {
    "$__rate_interval": "15s",
    "$__range": "5m",
    "$namespace": ".*",
    "$job": ".*",
    "$instance": ".*",
    "$model": ".*",
}
"""What Grafana would put in where everything is chosen and a scrape comes every few seconds."""


def _read(path: Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads(path.read_text())
    return board


BOARDS = {path.stem: _read(path) for path in sorted(DIRECTORY.glob("*.json"))}


@dataclass(frozen=True)
class Query:
    """One expression of one panel."""

    board: str
    panel: str
    expression: str
    legend: str
    is_range: bool

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}: {self.legend}"

    @property
    def substituted(self) -> str:
        """The expression, as Prometheus would get it."""
        text = self.expression
        for name, value in VARIABLES.items():
            text = text.replace(name, value)
        return text

    @property
    def legend_labels(self) -> list[str]:
        """The labels that the legend names."""
        return re.findall(r"\{\{(\w+)\}\}", self.legend)


def queries(board: str | None = None) -> list[Query]:
    """Return the queries of a board, or of all."""
    return [
        Query(name, panel["title"], target["expr"], target["legendFormat"], target["range"])
        for name, content in BOARDS.items()
        if board in (None, name)
        for panel in content["panels"]
        for target in panel.get("targets", ())
    ]
