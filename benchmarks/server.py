"""The product as an operator runs it: `lora-api serve` on a loopback port, with keys."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from app.catalog import ModelSpec
from benchmarks.models import document
from deploy.quickstart.ports import free_port

LORA_API = str(Path(sys.executable).with_name("lora-api"))
SERVE = (LORA_API, "serve")
SERVE_UNLIMITED = (sys.executable, "-m", "benchmarks.unlimited_batches")
START_SECONDS = 300.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.25
REQUEST_SECONDS = 600.0


class ServerFailed(Exception):
    """The server did not become ready; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready. `pid` is the process that answers HTTP."""

    url: str
    pid: int
    environment: Mapping[str, str]

    def key(self, organisation: str) -> str:
        """Mint an API key of the organisation."""
        command = [LORA_API, "keys", "create", "--org", organisation]
        done = subprocess.run(
            command, env=dict(self.environment), check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def client(self, organisation: str) -> httpx.Client:
        """Return a client with a new key of the organisation; to be closed."""
        headers = {"authorization": f"Bearer {self.key(organisation)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=REQUEST_SECONDS)


@contextmanager
def running(
    specs: Sequence[ModelSpec],
    room: Path,
    *,
    command: Sequence[str] = SERVE,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start it with an empty data directory in `room`, wait until it is ready, end it at last.

    `settings` are further `LORA_API_` variables. **Raises:** ServerFailed.
    """
    room.mkdir(parents=True, exist_ok=True)
    catalog = room / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"models": [document(spec) for spec in specs]}))
    port = free_port()
    environment = {
        **os.environ,
        "LORA_API_CATALOG": str(catalog),
        "LORA_API_DATA_DIR": str(room / "data"),
        "LORA_API_SERVER__PORT": str(port),
        "LORA_API_LOG_LEVEL": "warning",
        **(settings or {}),
    }
    log = room / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, f"{url}/health/ready", log)
        yield Server(url, process.pid, environment)
    finally:
        stop(process)


def wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Return when the URL answers 200. **Raises:** ServerFailed."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if _is_ready(url):
            return
        time.sleep(POLL_SECONDS)
    raise ServerFailed(log.read_text(errors="replace")[-4000:])


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End the server as an operator would, and by force where that does not help."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
