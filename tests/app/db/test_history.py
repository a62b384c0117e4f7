"""Which code stands for the last release, and where none can be had."""

import subprocess
from pathlib import Path

import pytest

from tests.app.db.history import MIGRATIONS, NoHistory, commit_before_newest_migration

SIGNED = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *SIGNED, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write_migration(root: Path, revision: str, before: str | None) -> None:
    versions = root / MIGRATIONS / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    text = f"revision = {revision!r}\ndown_revision = {before!r}\n"
    (versions / f"{revision}.py").write_text(text)


def commit(root: Path, message: str) -> str:
    git(root, "add", ".")
    git(root, "commit", "--allow-empty", "--message", message)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one migration, committed."""
    root = tmp_path / "project"
    write_migration(root, "0001", None)
    git(root, "init")
    commit(root, "first")
    return root


def test_the_code_before_is_that_of_the_commit_before_the_migration_came(project: Path) -> None:
    before = commit(project, "other work")
    write_migration(project, "0002", "0001")
    commit(project, "second migration")
    commit(project, "more work")
    assert commit_before_newest_migration(project) == before


def test_a_migration_that_is_being_written_comes_after_the_last_commit(project: Path) -> None:
    last = commit(project, "other work")
    write_migration(project, "0002", "0001")
    assert commit_before_newest_migration(project) == last


def test_a_history_that_begins_with_the_migration_has_no_code_before(project: Path) -> None:
    with pytest.raises(NoHistory, match=r"does not reach back to before 0001\.py"):
        commit_before_newest_migration(project)


def test_a_shallow_clone_has_no_code_before(project: Path, tmp_path: Path) -> None:
    write_migration(project, "0002", "0001")
    commit(project, "second migration")
    git(tmp_path, "clone", "--depth", "1", f"file://{project}", "shallow")
    with pytest.raises(NoHistory, match=r"does not reach back to before 0002\.py"):
        commit_before_newest_migration(tmp_path / "shallow")


def test_a_source_archive_inside_another_project_has_no_history(project: Path) -> None:
    write_migration(project / "vendored", "0001", None)
    with pytest.raises(NoHistory, match="no clone"):
        commit_before_newest_migration(project / "vendored")
