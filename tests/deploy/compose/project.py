"""`deploy/compose.yaml` as compose reads it: variables put in, merges resolved."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "deploy" / "compose.yaml"
GPU = ROOT / "deploy" / "compose" / "gpu.yaml"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<word>[^}]*))?\}")


def variables(text: str, kind: str) -> set[str]:
    """Return the names of the variables with a default (`-`), or that are demanded (`?`)."""
    return {match["name"] for match in VARIABLE.finditer(text) if match["kind"] == kind}


def project(path: Path, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the file's content. **Raises:** KeyError for a variable that is demanded."""

    def value(match: re.Match[str]) -> str:
        if match["kind"] == "-":
            return given.get(match["name"]) or match["word"]
        return given[match["name"]]

    return yaml.safe_load(VARIABLE.sub(value, path.read_text()))


def secrets(path: Path = COMPOSE) -> dict[str, str]:
    """Return a value for every variable that the file demands: its own name, 48 letters long."""
    return {name: name.lower().ljust(48, "x") for name in variables(path.read_text(), "?")}
