"""A whole server that is killed with its engine, and started again on the same data directory."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.batches.scene import chat_lines
from tests.e2e.batches.worker_process import CHAT
from tests.fixtures.server import Server, running_server, tiny_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

LINES = 400
WAIT_SECONDS = 150.0
ENDED = ("completed", "failed", "expired", "cancelled")


class Customer:
    """A customer's view of one batch, across restarts of the server."""

    def __init__(self, key: str) -> None:
        self._headers = {"authorization": f"Bearer {key}"}

    def create(self, server: Server, lines: list[dict[str, Any]]) -> str:
        """Upload lines and make a batch of them; return its id."""
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        with self._http(server) as http:
            file = {"file": ("in.jsonl", content)}
            uploaded = http.post("/v1/files", files=file, data={"purpose": "batch"})
            wanted = {
                "input_file_id": uploaded.raise_for_status().json()["id"],
                "endpoint": CHAT,
                "completion_window": "24h",
            }
            answer = http.post("/v1/batches", json=wanted)
            return str(answer.raise_for_status().json()["id"])

    def until(self, server: Server, batch_id: str, *, finished: int) -> dict[str, Any]:
        """Wait until so many lines are finished, or the batch has ended; return it."""
        deadline = time.monotonic() + WAIT_SECONDS
        with self._http(server) as http:
            while True:
                batch: dict[str, Any] = http.get(f"/v1/batches/{batch_id}").json()
                counts = batch["request_counts"]
                if counts["completed"] + counts["failed"] >= finished or batch["status"] in ENDED:
                    return batch
                assert time.monotonic() < deadline, batch
                time.sleep(0.1)

    def until_ended(self, server: Server, batch_id: str) -> dict[str, Any]:
        """Wait until the batch has ended; return it."""
        return self.until(server, batch_id, finished=LINES + 1)

    def output(self, server: Server, batch: dict[str, Any]) -> list[Any]:
        """Return the lines of the output file."""
        with self._http(server) as http:
            content = http.get(f"/v1/files/{batch['output_file_id']}/content").raise_for_status()
        return [json.loads(line) for line in content.text.splitlines()]

    def _http(self, server: Server) -> httpx.Client:
        return httpx.Client(base_url=server.url, headers=self._headers, timeout=30)


def kill_whole(server: Server) -> None:
    """End the server and all its processes, as a machine's failure would."""
    main = psutil.Process(server.pid)
    processes = [main, *main.children(recursive=True)]
    for process in processes:
        process.kill()
    server.process.wait(10)
    psutil.wait_procs(processes, timeout=10)


def test_a_batch_outlives_its_server_and_engine(tmp_path: Path, tiny_llama_directory: Path) -> None:
    model = tiny_model(tiny_llama_directory)
    lines = chat_lines(LINES, max_tokens=40)
    settings = {"LORA_API_BATCHES__CHECKPOINT_SECONDS": "1"}
    with running_server([model], tmp_path, **settings) as first:
        customer = Customer(first.key("batches"))
        batch_id = customer.create(first, lines)
        customer.until(first, batch_id, finished=1)
        kill_whole(first)
        killed = time.monotonic()

    with running_server([model], tmp_path, **settings) as second:
        ready = time.monotonic()
        known = customer.until(second, batch_id, finished=0)["request_counts"]["completed"]
        customer.until(second, batch_id, finished=known + 1)
        first_line = time.monotonic()
        batch = customer.until_ended(second, batch_id)
        ended = time.monotonic()
        output = customer.output(second, batch)

    print(
        f"killed with {known} of {LINES} lines known; ready {ready - killed:.1f} s later, "
        f"first new line {first_line - ready:.1f} s and end {ended - ready:.1f} s after that"
    )
    assert 0 < known < LINES
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
    assert [line["custom_id"] for line in output] == [line["custom_id"] for line in lines]
    assert {line["response"]["status_code"] for line in output} == {200}
