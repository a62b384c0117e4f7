"""`lora-api organizations` on an embedded and on a shared database."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import keys
from app.cli.organizations import app

PLANS = "default: free\nplans: {free: {}, developer: {}}\n"


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_API_DATA_DIR", str(tmp_path / "data"))
    for name in ("acme", "globex"):
        assert CliRunner().invoke(keys.app, ["create", "--org", name]).exit_code == 0


@pytest.fixture
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "plans.yaml"
    path.write_text(PLANS)
    monkeypatch.setenv("LORA_API_PLANS", str(path))
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def listed() -> dict[str, str]:
    rows = re.findall(r"^(org_\w{26}) +(\S+) +(\S+) +\d{4}-", run("list").stdout, re.MULTILINE)
    return {name: plan for _, name, plan in rows}


def test_a_list_shows_every_organisation_with_its_plan() -> None:
    run("plan", "acme", "developer")
    assert listed() == {"acme": "developer", "globex": "(default)"}


def test_a_plan_can_be_reset_to_the_default() -> None:
    run("plan", "acme", "developer")
    assert run("plan", "acme", "--default").exit_code == 0
    assert listed() == {"acme": "(default)", "globex": "(default)"}


@pytest.mark.usefixtures("plans")
def test_a_plan_of_the_file_is_accepted_without_a_warning() -> None:
    result = run("plan", "acme", "developer")
    assert result.exit_code == 0
    assert result.stderr == "acme has the plan developer.\n"


def test_a_plan_that_the_file_does_not_have_is_refused(plans: Path) -> None:
    result = run("plan", "acme", "platinum")
    assert result.exit_code == 1
    assert f"{plans}: has no such plan, only developer, free" in result.stderr
    assert listed()["acme"] == "(default)"


def test_a_broken_file_of_plans_is_named(plans: Path) -> None:
    plans.write_text("default: free\n")
    result = run("plan", "acme", "free")
    assert result.exit_code == 1
    assert f"{plans}: plans: Field required" in result.stderr


def test_without_a_file_the_operator_is_told_that_nothing_was_checked() -> None:
    result = run("plan", "acme", "platinum")
    assert result.exit_code == 0
    assert "LORA_API_PLANS is not set" in result.stderr


@pytest.mark.parametrize("arguments", [("acme",), ("acme", "developer", "--default")])
def test_a_plan_and_the_default_exclude_each_other(arguments: tuple[str, ...]) -> None:
    result = run("plan", *arguments)
    assert result.exit_code == 2
    assert "--default" in result.stderr


def test_an_unknown_organisation_is_an_error() -> None:
    result = run("plan", "initech", "developer")
    assert result.exit_code == 1
    assert "no organisation has this name" in result.stderr


def test_a_shared_database_is_not_migrated_in_passing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_API_DATABASE__URL", f"sqlite:///{tmp_path / 'shared.sqlite3'}")
    result = run("list")
    assert result.exit_code == 1
    assert "schema is missing" in result.stderr
