"""The handle of a warm run_batch: gives it files, and tells what each took."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.catalog import ModelSpec
from benchmarks.models import document
from benchmarks.peers.environment import OUR_KERNELS, environment

PROCESS = "benchmarks.peers.run_batch_process"
END_SECONDS = 60.0


class PeerFailed(Exception):
    """The peer ended before it answered; the message holds its last words."""


class RunBatch:
    """A process that runs vLLM's run_batch on a warm engine."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, source: Path, output: Path) -> float:
        """Answer the file's lines; return the seconds it took. **Raises:** PeerFailed."""
        self.tell([str(source), str(output)])
        seconds: float = self.hear()["seconds"]
        return seconds

    def tell(self, message: object) -> None:
        """Give it the next line of its input."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Wait for its next answer. **Raises:** PeerFailed."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise PeerFailed(self._log.read_text(errors="replace")[-4000:])
        found: dict[str, Any] = json.loads(answer)
        return found


@contextmanager
def running(
    spec: ModelSpec,
    room: Path,
    *,
    adapters: Mapping[str, Path] | None = None,
    plugins: str = OUR_KERNELS,
) -> Iterator[RunBatch]:
    """Start it, wait until it is warm, and end it with the block. **Raises:** PeerFailed.

    `adapters` are model ids and directories; `plugins` names the vLLM plugins that it loads.
    """
    room.mkdir(parents=True, exist_ok=True)
    log = room / "run_batch.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", PROCESS],
            env=environment(plugins),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    peer = RunBatch(process, log)
    places = {name: str(path) for name, path in (adapters or {}).items()}
    try:
        peer.tell({"spec": document(spec), "adapters": places})
        peer.hear()
        yield peer
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()  # its commands are over
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
