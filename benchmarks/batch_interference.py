"""What a saturating batch costs people who talk to the same model, and what they cost the batch.

Three phases take turns on one server: the batch alone, both together, the talk alone. The batch is
large enough never to end by itself. Its rate is counted by the engine, not by the batch's own
counts, which move only when results are stored.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import models, server, workloads
from benchmarks.batch_client import BatchClient
from benchmarks.interactive import Talk, Waits, talk
from benchmarks.measure import Spread, figure, percentile, ratios, spread
from benchmarks.report import Report, Table
from benchmarks.server_metrics import finished_requests
from benchmarks.workloads import Shape

COLUMNS = (
    "case",
    "questions/s",
    "TTFT p50 ms, quiet → batch",
    "TTFT p99 ms, quiet → batch",
    "p99 ratio",
    "ITL p99 ms, quiet → batch",
    "ITL ratio",
    "batch lines/s, alone → with talk",
    "rate ratio",
    "talk, share of tokens",
    "refused",
)
ORGANISATION = "benchmarks"
LINE_TOKENS, TALK_TOKENS = 64, 32
FLOWING_LINES = 64
FLOW_SECONDS = 120.0
TOKENS_A_SECOND = {models.TINY: 12_000, models.SMOLLM2: 400}
"""More than the models give; with it a batch is made large enough."""

POLL_SECONDS = 0.1


class NoFlow(Exception):
    """The batch did not begin to run."""


@dataclass(frozen=True, slots=True)
class Limiting:
    """What holds batches back: the product's own limits, or none."""

    is_on: bool
    batch_share: float


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is run.

    With `has_adapters` the batch and the talk together ask for one adapter more than there are
    slots.
    """

    model: str
    rates: tuple[float, ...]
    seconds: float
    pairs: int
    running: int
    has_adapters: bool
    limiting: Limiting


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of all phases; rates are answered lines a second, and answers of the talk."""

    alone: float
    together: float
    talked: float
    quiet: Waits
    busy: Waits


@dataclass(frozen=True, slots=True)
class Stage:
    """A running server, what the batch asks for, and who is talked to."""

    server: server.Server
    client: BatchClient
    base: str
    batch_models: tuple[str, ...]
    talk_model: str
    key: str


def measure(scale: Scale, room: Path, report: Report) -> None:
    """Run all rates of questions, and put what was found into the report."""
    table = Table(f"{scale.model}, max_num_seqs {scale.running}", COLUMNS)
    report.tables.append(table)
    with _stage(scale, room) as stage:
        talk(
            _talk(scale, stage, scale.rates[0]), 5.0, seed=0
        )  # the first answers of a server are slow
        for rate in scale.rates:
            turns = [_turn(scale, stage, room, rate, turn) for turn in range(scale.pairs)]
            case = _case(scale)
            report.figures[f"{case}, {rate:g} questions/s"] = [asdict(turn) for turn in turns]
            table.rows.append([case, f"{rate:g}", *cells(turns)])


def cells(turns: Sequence[Turn]) -> list[str]:
    """Sum up the turns of one case."""
    quiet, busy = [turn.quiet for turn in turns], [turn.busy for turn in turns]
    first = [(each.first, other.first) for each, other in zip(quiet, busy, strict=True)]
    between = [(each.between, other.between) for each, other in zip(quiet, busy, strict=True)]
    alone, together = [turn.alone for turn in turns], [turn.together for turn in turns]
    return [
        _change(first, 0.5),
        _change(first, 0.99),
        str(_ratio(first, 0.99)),
        _change(between, 0.99),
        str(_ratio(between, 0.99)),
        f"{figure(spread(alone).median)} → {figure(spread(together).median)}",
        str(ratios(together, alone)),
        f"{spread([_talk_share(turn) for turn in turns]).median:.0%}",
        str(sum(each.refusals for each in [*quiet, *busy])),
    ]


def _talk_share(turn: Turn) -> float:
    talk, batch = turn.talked * TALK_TOKENS, turn.together * LINE_TOKENS
    return talk / (talk + batch)


Pairs = Sequence[tuple[Sequence[float], Sequence[float]]]


def _change(pairs: Pairs, share: float) -> str:
    quiet, busy = (
        spread([1000 * percentile(pair[side], share) for pair in pairs]).median for side in (0, 1)
    )
    return f"{figure(quiet)} → {figure(busy)}"


def _ratio(pairs: Pairs, share: float) -> Spread:
    quiet, busy = ([percentile(pair[side], share) for pair in pairs] for side in (0, 1))
    return ratios(busy, quiet)


def _case(scale: Scale) -> str:
    what = "adapters beyond the slots" if scale.has_adapters else "base model"
    return what if scale.limiting.is_on else f"{what}, batches unlimited"


def _turn(scale: Scale, stage: Stage, room: Path, rate: float, turn: int) -> Turn:
    seed = 100 * round(rate) + turn
    what = _talk(scale, stage, rate)
    shape = Shape(_enough(scale), LINE_TOKENS, stage.batch_models)
    source = workloads.write(shape, seed, room / f"input-{seed}.jsonl")
    batch = stage.client.create(stage.client.upload(source))
    _wait_until_flowing(stage, batch)
    before, begun = _finished(stage), time.perf_counter()
    time.sleep(scale.seconds)
    alone = (_finished(stage) - before) / (time.perf_counter() - begun)
    before, begun = _finished(stage), time.perf_counter()
    busy = talk(what, scale.seconds, seed)
    lines, took = _finished(stage) - before - busy.answers, time.perf_counter() - begun
    if stage.client.retrieve(batch)["status"] != "in_progress":
        raise NoFlow("the batch ended while it was measured: give it more lines")
    stage.client.cancel(batch)
    quiet = talk(what, scale.seconds, seed + 50)
    return Turn(alone, lines / took, busy.answers / took, quiet, busy)


def _wait_until_flowing(stage: Stage, batch: str) -> None:
    before, deadline = _finished(stage), time.monotonic() + FLOW_SECONDS
    while _finished(stage) - before < FLOWING_LINES:
        if time.monotonic() > deadline:
            raise NoFlow(f"the batch does not run: {stage.client.retrieve(batch)}")
        time.sleep(POLL_SECONDS)


def _finished(stage: Stage) -> float:
    return finished_requests(stage.server.url, stage.base)


def _enough(scale: Scale) -> int:
    return int(TOKENS_A_SECOND[scale.model] / LINE_TOKENS * (2 * scale.seconds + 10))


def _talk(scale: Scale, stage: Stage, rate: float) -> Talk:
    return Talk(stage.server.url, stage.key, stage.talk_model, rate, TALK_TOKENS)


@contextmanager
def _stage(scale: Scale, room: Path) -> Iterator[Stage]:
    spec = models.SPECS[scale.model](scale.running)
    settings = {"LORA_API_ADMISSION__BATCH_SHARE": str(scale.limiting.batch_share)}
    command = server.SERVE if scale.limiting.is_on else server.SERVE_UNLIMITED
    with ExitStack() as stack:
        product = stack.enter_context(
            server.running([spec], room / "ours", command=command, settings=settings)
        )
        client = BatchClient(stack.enter_context(product.client(ORGANISATION)))
        count = models.MAX_LORAS + 1 if scale.has_adapters else 0
        names = [client.register(each, spec.id) for each in models.adapters(spec, count)]
        *batch, one = names or [spec.id, spec.id]
        key = product.key(ORGANISATION)
        yield Stage(product, client, spec.id, tuple(batch), one, key)
