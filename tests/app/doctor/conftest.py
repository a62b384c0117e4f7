import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.doctor.findings import Finding
from app.settings import Settings

Described = Callable[..., Settings]


@pytest.fixture
def settings_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Described:
    """Return the settings of an embedded deployment with one local model, with these changes."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("models: [{id: one, task: embedding, source: ./model, context_window: 64}]")

    def described(**changes: Any) -> Settings:
        known = {"catalog": catalog, "data_dir": tmp_path / "data"}
        return Settings(**known | changes)

    return described


@pytest.fixture
def closed_port() -> int:
    """A port of loopback where nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port: int = closed.getsockname()[1]
        return port


def levels(findings: list[Finding]) -> dict[str, str]:
    """Return the worst that was found of each part."""
    order = ("ok", "warning", "problem")
    worst: dict[str, str] = {}
    for each in findings:
        worst[each.part] = max(worst.get(each.part, "ok"), each.level, key=order.index)
    return worst
