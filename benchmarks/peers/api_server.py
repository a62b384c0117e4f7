"""The handle of vLLM's own API server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.catalog import ModelSpec
from app.engine.factory import VLLM_ENVIRONMENT
from benchmarks.models import document
from benchmarks.peers.run_batch import NO_PLUGINS, OFFLINE
from benchmarks.server import stop, wait_until_ready
from deploy.quickstart.ports import free_port

PROCESS = "benchmarks.peers.api_server_process"


@contextmanager
def running(
    spec: ModelSpec,
    room: Path,
    *,
    adapters: Mapping[str, Path] | None = None,
    plugins: str = NO_PLUGINS,
) -> Iterator[str]:
    """Start it, wait until it is ready, yield its base URL, and end it with the block.

    `adapters` are model ids and directories; `plugins` names the vLLM plugins that it loads.
    **Raises:** ServerFailed.
    """
    room.mkdir(parents=True, exist_ok=True)
    port = free_port()
    places = {name: str(path) for name, path in (adapters or {}).items()}
    order = {"spec": document(spec), "adapters": places, "port": port}
    environment = {**VLLM_ENVIRONMENT, **OFFLINE, **os.environ, "VLLM_PLUGINS": plugins}
    log = room / "api_server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", PROCESS, json.dumps(order)],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, f"{url}/health", log)
        yield url
    finally:
        stop(process)
