"""SIGTERM: streams finish in time or end with an error event; nothing is left behind."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.fixtures.server import TINY, Server, running_server, starting_server, tiny_model

pytestmark = pytest.mark.engine

LONG_STREAM = {
    "model": TINY,
    "messages": [{"role": "user", "content": "Go on and on"}],
    "max_tokens": 250,
    "temperature": 0,
    "stream": True,
}
SHARED_MEMORY = Path("/dev/shm")
SPAWNED = "multiprocessing.spawn"
AT_ONCE_SECONDS = 5.0


def events(lines: Iterator[str]) -> list[tuple[str, Any]]:
    """Parse SSE lines into (event name, payload)."""
    parsed, name = [], "message"
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data = line.removeprefix("data: ")
            parsed.append((name, data if data == "[DONE]" else json.loads(data)))
            name = "message"
    return parsed


def stream_across_sigterm(server: Server) -> list[tuple[str, Any]]:
    """Start a stream, stop the server after the first line, read the stream to its end."""
    headers = {"authorization": f"Bearer {server.key('streamer')}"}
    url = f"{server.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=LONG_STREAM, headers=headers, timeout=60) as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        first = next(lines)
        server.process.terminate()
        return events(iter([first, *lines]))


def shared_memory() -> set[str]:
    """Name all segments but those of databases, which come and go as they please."""
    names = {entry.name for entry in SHARED_MEMORY.iterdir()}
    return {name for name in names if not name.startswith("PostgreSQL.")}


def assert_nothing_is_left(
    server: Server, children: list[psutil.Process], before: set[str]
) -> None:
    assert server.process.wait(60) == -signal.SIGTERM
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert shared_memory() - before == set()


@pytest.mark.parametrize(
    ("drain_seconds", "ending"), [("30", "[DONE]"), ("0", "error")], ids=["in time", "too late"]
)
def test_sigterm_ends_a_stream_properly_and_leaves_nothing(
    tmp_path: Path, tiny_llama_directory: Path, drain_seconds: str, ending: str
) -> None:
    before = shared_memory()
    model = tiny_model(tiny_llama_directory)
    with running_server([model], tmp_path, LORA_API_SERVER__DRAIN_SECONDS=drain_seconds) as server:
        children = psutil.Process(server.pid).children(recursive=True)
        assert children

        seen = stream_across_sigterm(server)

        name, payload = seen[-1]
        if ending == "[DONE]":
            assert payload == "[DONE]"
        else:
            assert name == "error"
            assert payload["error"]["type"] == "internal_server_error"
        assert_nothing_is_left(server, children, before)


def test_sigterm_before_the_start_is_over_ends_it_at_once_and_leaves_nothing(
    tmp_path: Path, tiny_llama_directory: Path
) -> None:
    before = shared_memory()
    with starting_server([tiny_model(tiny_llama_directory)], tmp_path) as server:
        children = with_an_engine(server)

        told = time.monotonic()
        server.process.terminate()

        assert_nothing_is_left(server, children, before)
        assert time.monotonic() - told < AT_ONCE_SECONDS
        assert "not started" in server.log.read_text()


def with_an_engine(server: Server) -> list[psutil.Process]:
    """Wait until an engine is being started, and return all processes of the server's."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = psutil.Process(server.pid).children(recursive=True)
        with suppress(psutil.NoSuchProcess):
            if any(SPAWNED in " ".join(child.cmdline()) for child in children):
                return children
        time.sleep(0.05)
    pytest.fail(f"no engine was started:\n{server.log.read_text(errors='replace')[-4000:]}")
