"""The code as it was before the newest migration, out of the project's own git history."""

import subprocess
import tarfile
from pathlib import Path

from alembic.script import ScriptDirectory

ROOT = Path(__file__).parents[3]
MIGRATIONS = Path("app/db/migrations")


class NoHistory(Exception):
    """Here is no history, or it does not reach back far enough."""


def commit_before_newest_migration(root: Path = ROOT) -> str:
    """Return the last commit without the newest migration, HEAD where that is not committed.

    **Raises:** NoHistory.
    """
    if _git(root, "rev-parse", "--show-toplevel") != str(root.resolve()):
        raise NoHistory("this is no clone of the project, so there is no older code to run")
    path = _newest_migration(root).relative_to(root)
    added = _git(root, "log", "--diff-filter=A", "--format=%H", "-1", "--", str(path))
    commit = _git(root, "rev-parse", "--verify", "--quiet", f"{added}^" if added else "HEAD")
    if not commit:
        raise NoHistory(f"the history of this clone does not reach back to before {path.name}")
    return commit


def extract(commit: str, destination: Path, *paths: str) -> None:
    """Write the files of a commit below `destination`; all of them, or those of `paths`."""
    archive = destination / "code.tar"
    _git(ROOT, "archive", f"--output={archive}", commit, *paths)
    with tarfile.open(archive) as files:
        files.extractall(destination, filter="data")
    archive.unlink()


def _newest_migration(root: Path) -> Path:
    scripts = ScriptDirectory(str(root / MIGRATIONS))
    head = scripts.get_current_head()
    assert head is not None
    return Path(scripts.get_revision(head).path)


def _git(root: Path, *arguments: str) -> str:
    """Return what git prints, nothing if it fails."""
    # Who checks a clone out need not be who tests it.
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NoHistory("git is not installed, so there is no older code to run") from None
    return done.stdout.strip() if done.returncode == 0 else ""
