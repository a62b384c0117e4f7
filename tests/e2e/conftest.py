"""A server whose one model says scripts, for what a small model does not do on demand."""

from collections.abc import Iterator

import pytest

from tests.fixtures.scripted_llama import catalog_entry, write_model
from tests.fixtures.server import Server, running_server


@pytest.fixture(scope="session")
def scripted_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with tools and reasoning; `play: NAME` in a system message picks a script."""
    room = tmp_path_factory.mktemp("scripted-server")
    model = catalog_entry(write_model(room / "model"))
    with running_server([model], room / "server") as running:
        yield running
