"""`lora-api keys` on an embedded and on a shared database."""

import asyncio
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.auth.authenticator import Authenticator
from app.auth.keys import is_key_shaped
from app.cli.keys import app
from app.db.engine import Database, database_url
from app.settings import DatabaseSettings

TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
KEY_ID = re.compile(r"key_[a-z0-9]{26}")


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORA_API_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_create_prints_a_key_that_authenticates(data_dir: Path) -> None:
    key = run("create", "--org", "acme").stdout.strip()
    assert is_key_shaped(key)
    pepper = (data_dir / "secret").read_bytes().strip()

    async def caller() -> str:
        database = Database(database_url(DatabaseSettings(), data_dir))
        authenticator = Authenticator(database.sessions, pepper, cache_seconds=1)
        try:
            return (await authenticator.authenticate(f"Bearer {key}")).key_id
        finally:
            await database.close()

    assert asyncio.run(caller()) in run("list").stdout


def test_the_key_is_shown_once_and_stored_nowhere(data_dir: Path) -> None:
    key = run("create", "--org", "acme").stdout.strip()
    assert key not in run("list").output
    assert all(key.encode() not in path.read_bytes() for path in data_dir.iterdir())


def test_two_keys_of_one_name_share_the_organisation() -> None:
    run("create", "--org", "acme")
    run("create", "--org", "acme")
    assert len(KEY_ID.findall(run("list", "--org", "acme").stdout)) == 2


def test_list_shows_one_organisation_only_when_asked() -> None:
    run("create", "--org", "acme")
    run("create", "--org", "globex")
    assert "globex" not in run("list", "--org", "acme").stdout
    assert "globex" in run("list").stdout


def test_a_revoked_key_is_listed_with_the_time() -> None:
    run("create", "--org", "acme")
    key_id = KEY_ID.findall(run("list").stdout)[0]
    assert len(TIME.findall(run("list").stdout)) == 1
    assert run("revoke", key_id).exit_code == 0
    assert len(TIME.findall(run("list").stdout)) == 2


def test_a_list_fits_80_columns_and_cuts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run("create", "--org", "o" * 63)
    run("revoke", KEY_ID.findall(run("list").stdout)[0])
    output = run("list").stdout
    assert max(map(len, output.splitlines())) <= 80
    assert len(KEY_ID.findall(output)) == 1
    assert len(TIME.findall(output)) == 2
    assert "".join(re.findall(r"\bo+\b", output)) == "o" * 63


@pytest.mark.parametrize("key_id", ["key_none", "x" * 1000, "key_\0"])
def test_revoking_an_unknown_key_fails(key_id: str) -> None:
    result = run("revoke", key_id)
    assert result.exit_code == 1
    assert "no key has this id" in result.stderr


@pytest.mark.parametrize("name", ["", "-acme", "Acme", "a" * 64, "a b", "a/../b", "acme\n"])
def test_a_name_that_breaks_the_pattern_is_refused(name: str) -> None:
    result = run("create", f"--org={name}")
    assert result.exit_code == 1
    assert "organisation's name" in result.stderr


def test_a_shared_database_is_not_migrated_in_passing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_API_DATABASE__URL", f"sqlite:///{tmp_path / 'shared.sqlite3'}")
    result = run("create", "--org", "acme")
    assert result.exit_code == 1
    assert "schema is missing" in result.stderr
