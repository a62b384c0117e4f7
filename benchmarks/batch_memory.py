"""The most memory that short batches of growing size take, of the product and of run_batch."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks import memory, models, server, workloads
from benchmarks.batch_client import BatchClient
from benchmarks.measure import figure
from benchmarks.peers import run_batch
from benchmarks.report import Report, Table
from benchmarks.workloads import Shape

COLUMNS = ("lines", "side", "seconds", "front: peak MiB", "front: grew", "engine: peak MiB", "grew")
MIB = 1 << 20
TOKENS = 2
WARM_LINES = 64


class Peaks(NamedTuple):
    """Bytes of the process that reads the file, and of all it has started."""

    front: int
    engine: int


def measure(sizes: list[int], running: int, room: Path, report: Report) -> None:
    """Run batches of these sizes on both sides, and put what was found into the report."""
    spec = models.tiny(running)
    table = Table(f"Peak memory, {spec.id}, {TOKENS} tokens a line", COLUMNS)
    report.tables.append(table)
    with ExitStack() as stack:
        product = stack.enter_context(server.running([spec], room / "ours"))
        client = BatchClient(stack.enter_context(product.client("benchmarks")))
        peer = stack.enter_context(run_batch.running(spec, room / "peer"))
        for seed, lines in enumerate([WARM_LINES, *sizes]):
            shape = Shape(lines, TOKENS, (spec.id,))
            source = workloads.write(shape, seed, room / "input.jsonl")
            ours = _watched(product.pid, lambda: client.run(source).seconds)  # noqa: B023
            theirs = _watched(peer.pid, lambda: peer.run(source, room / "output"))  # noqa: B023
            if seed:
                table.rows += [
                    [figure(lines), "ours", *ours],
                    [figure(lines), "run_batch", *theirs],
                ]


def _watched(pid: int, run: Callable[[], float]) -> list[str]:
    """Run and tell the seconds, and what the processes held at most."""
    before = held(pid)
    memory.forget_peaks(memory.with_children(pid))
    seconds = run()
    told = [figure(seconds)]
    for peak, held_before in zip(_peaks(pid), before, strict=True):
        told += [figure(peak / MIB), figure((peak - held_before) / MIB)]
    return told


def held(pid: int) -> Peaks:
    """Return what the processes hold now."""
    front, *engine = memory.with_children(pid)
    resident = memory.resident_bytes
    return Peaks(resident(front), max(resident(each) for each in engine))


def _peaks(pid: int) -> Peaks:
    front, *engine = memory.with_children(pid)
    return Peaks(memory.peak_bytes(front), max(memory.peak_bytes(each) for each in engine))
