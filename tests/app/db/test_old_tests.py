"""The services of the release before do on the new schema all that their own tests ask of them."""

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path

import pytest

from tests.app.db.history import MIGRATIONS, ROOT, extract

pytestmark = pytest.mark.soak

MODULES = (
    "adapters/test_bucket_memory.py",
    "adapters/test_pins.py",
    "adapters/test_service_keys.py",
    "auth/test_organizations.py",
    "auth/test_service.py",
    "batches/test_chunks.py",
    "batches/test_leases.py",
    "batches/test_repository.py",
    "batches/test_worker.py",
    "files/test_repository.py",
    "files/test_retention.py",
    "idempotency/test_creates.py",
    "idempotency/test_sweep.py",
    "usage/test_recorder.py",
    "usage/test_repository.py",
)
"""Tests of `app` that between them go through its SQL, and need no engine."""
CHOSEN = "postgresql"  # only there is more than one replica
OPTIONS = ("-q", "-m", "not engine and not soak", "-k", CHOSEN, "-p", "no:cacheprovider")
SECONDS = 270


@pytest.fixture
def old_project(old_commit: str, tmp_path: Path) -> Path:
    """The project as it was before the newest migration, but with that migration."""
    extract(old_commit, tmp_path)
    shutil.rmtree(tmp_path / MIGRATIONS)
    shutil.copytree(ROOT / MIGRATIONS, tmp_path / MIGRATIONS)
    return tmp_path


async def test_tests_of_before_the_newest_migration_pass_on_the_schema_after_it(
    old_project: Path,
) -> None:
    modules = [Path("tests/app", module) for module in MODULES]
    known = [module for module in modules if (old_project / module).exists()]
    assert [module for module in modules if not (ROOT / module).exists()] == []
    # What libraries have come to warn of since is not the schema's matter.
    tests = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", *OPTIONS, "-W", "default", *known),
        cwd=old_project,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await tests.communicate()
    finally:
        if tests.returncode is None:
            tests.send_signal(signal.SIGINT)  # it has a database server to stop
            await tests.communicate()
    assert tests.returncode == 0, output.decode()[-8000:]
