"""The commit whose code stands for the release before."""

import pytest

from tests.app.db.history import NoHistory, commit_before_newest_migration


@pytest.fixture(scope="session")
def old_commit() -> str:
    """The last commit without the newest migration; skips where there is no such history."""
    try:
        return commit_before_newest_migration()
    except NoHistory as error:
        pytest.skip(str(error))
