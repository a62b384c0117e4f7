"""The demo's server: a child process with its own settings, log file and clean end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.quickstart.paths import CATALOG, DATA, SERVER_LOG
from deploy.quickstart.progress import task

LORA_API = Path(sys.executable).with_name("lora-api")
START_SECONDS = 600.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.25
TAIL_LINES = 30


class ServerFailed(Exception):
    """The server or its command line did not do its part; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that has said it is ready."""

    url: str
    start_seconds: float


def settings(port: int) -> dict[str, str]:
    """Return the environment that makes `lora-api` serve the demo's catalog on `port`."""
    return {
        "LORA_API_LOG_FORMAT": "console",
        **os.environ,
        "LORA_API_CATALOG": str(CATALOG),
        "LORA_API_DATA_DIR": str(DATA),
        "LORA_API_SERVER__PORT": str(port),
    }


def create_key(organisation: str) -> str:
    """Mint an API key in the demo's database. **Raises:** ServerFailed."""
    command = [str(LORA_API), "keys", "create", "--org", organisation]
    done = subprocess.run(command, env=settings(0), capture_output=True, text=True)
    if done.returncode:
        raise ServerFailed(f"`lora-api keys create` failed:\n{done.stderr}")
    return done.stdout.strip()


@contextmanager
def running(port: int) -> Iterator[Server]:
    """Start the server, wait until it is ready, and end it with the block.

    **Raises:** ServerFailed, with the end of the server's log.
    """
    SERVER_LOG.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with SERVER_LOG.open("wb") as log:
        child = subprocess.Popen(
            [LORA_API, "serve"], env=settings(port), stdout=log, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    try:
        with task("Starting the server"):
            _wait_until_ready(child, url)
        yield Server(url, time.monotonic() - started)
    finally:
        _stop(child)


def _wait_until_ready(child: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        if _is_ready(url):
            return
        time.sleep(POLL_SECONDS)
    what = "not become ready" if child.poll() is None else "not stay up"
    tail = "\n".join(SERVER_LOG.read_text(errors="replace").splitlines()[-TAIL_LINES:])
    raise ServerFailed(f"The server did {what}. The end of {SERVER_LOG}:\n{tail}")


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=5.0).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
