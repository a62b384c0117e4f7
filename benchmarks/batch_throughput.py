"""Lines a second of the product's batches against vLLM's run_batch: same file, model and flags.

Start-up is left out on both sides. Ours is timed from POST /v1/batches to the status `completed`,
so checking the file and writing the results are in it; the peer from reading the file to having
written its output. No speed is told of a case in which any answer differs.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import models, server, workloads
from benchmarks.batch_client import BatchClient
from benchmarks.measure import figure, in_turns, ratios, spread
from benchmarks.peers import run_batch
from benchmarks.peers.environment import NO_PLUGINS, OUR_KERNELS
from benchmarks.report import Report, Table
from benchmarks.workloads import Shape

OURS, PEER, PLAIN_PEER = "ours", "run_batch", "run_batch, vLLM's own LoRA kernels"
COLUMNS = (
    "workload",
    "lines",
    "peer",
    "ours, lines/s",
    "peer, lines/s",
    "ours / peer",
    "with upload",
    "equal answers",
)
WARM_LINES = 64
ADAPTERS = 8
SHARED = 0.8
PREFIXES = {models.TINY: (80, 96), models.SMOLLM2: (375, 24)}
"""Words of a shared prefix, about 500 tokens, and how many prefixes are more than the KV cache."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One side's run of one file. `whole` counts the upload too."""

    seconds: float
    whole: float
    texts: Mapping[str, str] = field(repr=False)


Side = Callable[[Path], Answered]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is run of every case."""

    model: str
    lines: int
    tokens: int
    pairs: int
    running: int


def measure(scale: Scale, cases: list[str], room: Path, report: Report) -> None:
    """Run the cases of these names, and put what was found into the report."""
    table = Table(f"{scale.model}, {scale.tokens} tokens a line", COLUMNS)
    report.tables.append(table)
    with _sides(scale, room, has_adapters="adapters" in cases) as (sides, names):
        shapes = shapes_of(scale, names)
        _in_turns(1, sides, _shape(scale, WARM_LINES, tuple(names)), room, seed=0)
        for number, case in enumerate(cases, 1):
            used = sides if case == "adapters" else {side: sides[side] for side in (OURS, PEER)}
            found = _in_turns(scale.pairs, used, shapes[case], room, seed=1000 * number)
            report.figures[case] = {name: _figures(runs) for name, runs in found.items()}
            table.rows += rows(case, shapes[case], found)


def shapes_of(scale: Scale, names: list[str]) -> dict[str, Shape]:
    """Return the batch of each case; `names` are the base model and then its adapters."""
    words, prefixes = PREFIXES[scale.model]
    shared = {"shared": SHARED, "prefix_words": words}
    plain = _shape(scale, scale.lines, tuple(names[:1]))
    return {
        "plain": plain,
        "one prefix": _shape(scale, scale.lines, plain.models, **shared),
        "many prefixes": _shape(scale, scale.lines, plain.models, prefixes=prefixes, **shared),
        "adapters": _shape(scale, scale.lines, tuple(names[1:])),
    }


def _shape(scale: Scale, lines: int, names: tuple[str, ...], **more: Any) -> Shape:
    return Shape(lines, scale.tokens, names, **more)


def rows(case: str, shape: Shape, found: Mapping[str, list[Answered]]) -> Iterator[list[str]]:
    """Lay out one row for each peer of a case."""
    ours = found[OURS]
    for name, theirs in found.items():
        if name == OURS:
            continue
        equal = sum(_equal(*both) for both in zip(ours, theirs, strict=True))
        lines = shape.lines * len(ours)
        told = _speeds(shape, ours, theirs) if equal == lines else ["-"] * 4
        yield [case, figure(shape.lines), name, *told, f"{equal:,} of {lines:,}"]


def _speeds(shape: Shape, ours: list[Answered], theirs: list[Answered]) -> list[str]:
    peer = [run.seconds for run in theirs]
    return [
        str(spread([shape.lines / run.seconds for run in ours])),
        str(spread([shape.lines / seconds for seconds in peer])),
        str(ratios(peer, [run.seconds for run in ours])),
        str(ratios(peer, [run.whole for run in ours])),
    ]


def _equal(ours: Answered, theirs: Answered) -> int:
    return sum(theirs.texts.get(id) == text for id, text in ours.texts.items())


def _figures(runs: list[Answered]) -> list[dict[str, Any]]:
    return [
        {"seconds": run.seconds, "with_upload": run.whole, "answered": len(run.texts)}
        for run in runs
    ]


def _in_turns(
    count: int, sides: Mapping[str, Side], shape: Shape, room: Path, *, seed: int
) -> dict[str, list[Answered]]:
    """Give every side the same files, a new one each turn."""

    def side(run: Side, turn: int) -> Answered:
        return run(workloads.write(shape, seed + turn, room / "input.jsonl"))

    return in_turns(count, {name: partial(side, run) for name, run in sides.items()})


@contextmanager
def _sides(
    scale: Scale, room: Path, *, has_adapters: bool
) -> Iterator[tuple[dict[str, Side], list[str]]]:
    """Start both, or all three where there are adapters; with the names of the models."""
    spec = models.SPECS[scale.model](scale.running)
    with ExitStack() as stack:
        product = stack.enter_context(server.running([spec], room / "ours"))
        client = BatchClient(stack.enter_context(product.client("benchmarks")))
        directories = models.adapters(spec, ADAPTERS) if has_adapters else []
        adapters = {client.register(each, spec.id): each for each in directories}
        sides: dict[str, Side] = {OURS: lambda source: _ours(client, source)}
        plugins = {PEER: OUR_KERNELS}
        if has_adapters:
            plugins[PLAIN_PEER] = NO_PLUGINS
        for number, (name, plugin) in enumerate(plugins.items()):
            home = room / f"peer-{number}"
            started = run_batch.running(spec, home, adapters=adapters, plugins=plugin)
            sides[name] = _peer(stack.enter_context(started), home / "output.jsonl")
        yield sides, [spec.id, *adapters]


def _ours(client: BatchClient, source: Path) -> Answered:
    run = client.run(source)
    output = run.batch["output_file_id"]
    texts = workloads.answers(client.lines(output)) if output else {}
    return Answered(run.seconds, run.seconds + run.upload_seconds, texts)


def _peer(peer: run_batch.RunBatch, output: Path) -> Side:
    def run(source: Path) -> Answered:
        seconds = peer.run(source, output)
        with output.open("rb") as lines:
            return Answered(seconds, seconds, workloads.answers(lines))

    return run
