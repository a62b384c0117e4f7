"""The server of this package's tests."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.e2e.all_tasks.catalog import models
from tests.fixtures.server import Server, running_server


@pytest.fixture(scope="package")
def all_tasks(
    tmp_path_factory: pytest.TempPathFactory,
    minilm: Path,
    whisper_base: Path,
    piper_voice: Path,
    smollm2: Path,
) -> Iterator[Server]:
    """The server that the tests of this package share, and no longer: it takes 10 GB."""
    room = tmp_path_factory.mktemp("all-tasks")
    catalog = models(room, minilm, whisper_base, piper_voice, smollm2)
    with running_server(catalog, room) as running:
        yield running


@pytest.fixture(scope="package")
def all_tasks_client(all_tasks: Server) -> Iterator[openai.OpenAI]:
    """The OpenAI SDK with a key of an organisation of its own."""
    url, key = f"{all_tasks.url}/openai/v1", all_tasks.key("all-tasks")
    with openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=300) as client:
        yield client
