"""A wrong setting ends every command, named as the operator wrote it and without its value."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import main


@pytest.mark.parametrize("command", [["serve"], ["migrate"], ["keys", "list"]])
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("LORA_API_AUTH__SECRET", "tooshortsecret")

    result = CliRunner().invoke(main, command)

    assert result.exit_code == 2
    assert "LORA_API_AUTH" in result.output
    assert "tooshortsecret" not in result.output


def test_a_missing_catalog_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_API_CATALOG", "no-such-catalog.yaml")

    result = CliRunner().invoke(main, ["serve"])

    assert result.exit_code == 2
    assert "no-such-catalog.yaml: cannot be read" in result.output


def test_a_model_of_ours_that_another_pool_is_said_to_serve_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "catalog.yaml").write_text(
        "models: [{id: mine, task: embedding, source: org/mine}]"
    )
    monkeypatch.setenv("LORA_API_CATALOG", str(tmp_path / "catalog.yaml"))
    monkeypatch.setenv("LORA_API_POOLS", '[{"url": "http://b", "models": ["theirs", "mine"]}]')

    result = CliRunner().invoke(main, ["serve"])

    assert result.exit_code == 2
    assert "LORA_API_POOLS: the model mine is in this server's own catalog too" in result.output
