"""`lora-api usage export` on an embedded database."""

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.auth.repository import ensure_organization
from app.cli import main
from app.db.engine import Database, database_url
from app.db.migrate import migrate
from app.settings import DatabaseSettings
from app.usage.export import HEAD
from app.usage.types import Entry
from tests.app.usage.entries import DAY, account, add, tokens


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORA_API_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def organizations(data_dir: Path) -> dict[str, str]:
    """Ids by name: two organisations, used on DAY and today."""

    async def fill() -> dict[str, str]:
        database = Database(database_url(DatabaseSettings(), data_dir))
        try:
            await migrate(database)
            async with database.sessions.begin() as session:
                ids = {
                    name: await ensure_organization(session, name, now=0)
                    for name in ("acme", "globex")
                }
            days = (DAY, datetime.now(UTC).date())
            await add(
                database,
                {Entry(day, account(id)): tokens(3) for id in ids.values() for day in days},
            )
            return ids
        finally:
            await database.close()

    return asyncio.run(fill())


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["usage", "export", *arguments])


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_usage_of_all_goes_to_standard_output(organizations: dict[str, str]) -> None:
    done = run("--start", "2026-01-31", "--end", "2026-01-31")
    assert done.exit_code == 0
    found = {row["organization"]: row["organization_id"] for row in rows(done.stdout)}
    assert found == organizations
    assert "2 rows" in done.stderr


def test_the_last_day_is_today_unless_another_is_named(organizations: dict[str, str]) -> None:
    today = datetime.now(UTC).date()
    found = rows(run("--start", str(today - timedelta(3))).stdout)
    assert {row["day"] for row in found} <= {str(today - timedelta(1)), str(today)}
    assert len(found) == 2


def test_one_organisation_goes_to_a_file(organizations: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "usage.csv"
    done = run("--start", "2026-01-01", "--end", "2026-01-31", "--org", "acme", "-o", str(output))
    assert done.exit_code == 0
    assert done.stdout == ""
    [row] = rows(output.read_text())
    assert (row["organization"], row["prompt_tokens"]) == ("acme", "3")
    assert [path.name for path in tmp_path.glob("usage*")] == ["usage.csv"]


def test_an_unknown_organisation_is_told_and_no_file_is_made(
    organizations: dict[str, str], tmp_path: Path
) -> None:
    output = tmp_path / "usage.csv"
    output.write_text("of before")
    done = run("--start", "2026-01-01", "--org", "initech", "-o", str(output))
    assert done.exit_code == 1
    assert "no organisation has this name" in done.stderr
    assert output.read_text() == "of before"
    assert [path.name for path in tmp_path.glob("usage*")] == ["usage.csv"]


def test_without_usage_there_is_the_head_alone(data_dir: Path) -> None:
    assert run("--start", "2026-01-01").stdout == ",".join(HEAD) + "\n"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--start", "01.02.2026"], "%Y-%m-%d"),
        (["--start", "2026-02-02", "--end", "2026-02-01"], "after --end"),
        (["--start", "2026-01-01", "-o", "/no/such/directory/usage.csv"], "cannot write"),
    ],
)
def test_what_makes_no_sense_is_refused(data_dir: Path, arguments: list[str], word: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert word in done.stderr.replace("\n", " ")
