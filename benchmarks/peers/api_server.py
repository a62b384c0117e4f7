"""The handle of vLLM's own API server."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.catalog import ModelSpec
from benchmarks.models import document
from benchmarks.peers.environment import NO_PLUGINS, environment
from benchmarks.server import stop, wait_until_ready
from deploy.quickstart.ports import free_port

PROCESS = "benchmarks.peers.api_server_process"


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A server that is ready. `pid` is the process that answers HTTP."""

    url: str
    pid: int


@contextmanager
def running(
    spec: ModelSpec,
    room: Path,
    *,
    adapters: Mapping[str, Path] | None = None,
    plugins: str = NO_PLUGINS,
) -> Iterator[ApiServer]:
    """Start it, wait until it is ready, yield it, and end it with the block.

    `adapters` are model ids and directories; `plugins` names the vLLM plugins that it loads.
    **Raises:** ServerFailed.
    """
    room.mkdir(parents=True, exist_ok=True)
    port = free_port()
    places = {name: str(path) for name, path in (adapters or {}).items()}
    order = {"spec": document(spec), "adapters": places, "port": port}
    log = room / "api_server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", PROCESS, json.dumps(order)],
            env=environment(plugins),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, f"{url}/health", log)
        yield ApiServer(url, process.pid)
    finally:
        stop(process)
