"""Answers a second of the product against vLLM's own API server: same model and engine arguments.

The product is asked before and after the peer in each turn. Where its two rates differ by more than
a twentieth, something else was at work, and the turn is thrown away.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product as every
from pathlib import Path

from app.catalog import ModelSpec
from benchmarks import closed_loop, models, server
from benchmarks.batch_client import BatchClient
from benchmarks.closed_loop import Heard, Load
from benchmarks.measure import figure, percentile, ratios, spread
from benchmarks.peers import api_server
from benchmarks.report import Report, Table

COLUMNS = (
    "models",
    "clients",
    "streamed",
    "ours, answers/s",
    "peer, answers/s",
    "ours / peer",
    "first bytes p50, ours / peer",
    "answers a CPU second of the API process, ours / peer",
    "ours / ours",
    "turns (thrown away)",
    "equal answers",
)
MOST_DRIFT = 0.05
MOST_TRIES = 2
"""Turns at most, as a multiple of those that are wanted."""
COMPARED = 20
WARM_SECONDS = 3.0
NO_KEY = "none"
TOKENS = 16
SPOKEN = 5
"""Cells of a row that tell speeds."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is run: each side for `seconds` in a turn; `adapters` are asked in turn, 0: none.

    An instant engine has no model to wait for.
    """

    model: str
    clients: tuple[int, ...]
    adapters: tuple[int, ...]
    seconds: float
    pairs: int
    running: int
    is_instant: bool

    @property
    def spec(self) -> ModelSpec:
        spec = models.SPECS[self.model](self.running)
        return models.instant(spec) if self.is_instant else spec


@dataclass(frozen=True, slots=True)
class Side:
    """A server that is asked, the process that answers, and its key."""

    url: str
    pid: int
    key: str

    def load(self, names: Sequence[str], clients: int, *, is_streamed: bool) -> Load:
        return Load(self.url, self.pid, self.key, names, clients, TOKENS, is_streamed)


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: the product, the peer, the product again."""

    before: Heard
    peer: Heard
    after: Heard

    @property
    def drift(self) -> float:
        return self.after.rate / self.before.rate

    @property
    def is_steady(self) -> bool:
        return abs(self.drift - 1) <= MOST_DRIFT

    @property
    def ours(self) -> float:
        return (self.before.rate + self.after.rate) / 2

    @property
    def ours_per_cpu_second(self) -> float:
        return (self.before.per_cpu_second + self.after.per_cpu_second) / 2


def measure(scale: Scale, room: Path, report: Report) -> None:
    """Run all cases, and put what was found into the report."""
    table = Table(f"{scale.model}, {TOKENS} tokens an answer on average", COLUMNS)
    report.tables.append(table)
    spec = scale.spec
    with ExitStack() as stack:
        started = stack.enter_context(server.running([spec], room / "ours"))
        client = BatchClient(stack.enter_context(started.client("benchmarks")))
        places = models.adapters(spec, max(scale.adapters))
        adapters = {client.register(place, spec.id): place for place in places}
        theirs = stack.enter_context(api_server.running(spec, room / "peer", adapters=adapters))
        ours = Side(started.url, started.pid, started.key("benchmarks"))
        sides = ours, Side(theirs.url, theirs.pid, NO_KEY)
        for count in scale.adapters:
            names = [*adapters][:count] or [spec.id]
            equal = _equal(sides, names)
            for clients, is_streamed in every(scale.clients, (False, True)):
                loads = [side.load(names, clients, is_streamed=is_streamed) for side in sides]
                turns = steady(scale.pairs, partial(_turn, scale, loads))
                what = f"{count} adapters" if count else "base"
                way = "yes" if is_streamed else "no"
                report.figures[f"{what}, {clients}, {way}"] = [asdict(turn) for turn in turns]
                table.rows.append([what, str(clients), way, *cells(turns, is_equal=equal)])


def steady(count: int, run: Callable[[int], Turn]) -> list[Turn]:
    """Run turns until so many were steady, or twice as many have been run."""
    turns: list[Turn] = []
    while len(turns) < MOST_TRIES * count and sum(turn.is_steady for turn in turns) < count:
        turns.append(run(len(turns)))
    return turns


def cells(turns: Sequence[Turn], *, is_equal: bool) -> list[str]:
    """Sum up the turns of one case; no speed is told where answers differ or nothing was steady."""
    good = [turn for turn in turns if turn.is_steady]
    told = _speeds(good) if good and is_equal else ["-"] * SPOKEN
    drift = str(spread([turn.drift for turn in turns]))
    return [*told, drift, f"{len(good)} ({len(turns) - len(good)})", "yes" if is_equal else "no"]


def _speeds(turns: Sequence[Turn]) -> list[str]:
    peer = [turn.peer.rate for turn in turns]
    ours = [turn.ours for turn in turns]
    first = [percentile([*turn.before.first, *turn.after.first], 0.5) for turn in turns]
    theirs = [percentile(turn.peer.first, 0.5) for turn in turns]
    return [
        figure(spread(ours).median),
        figure(spread(peer).median),
        str(ratios(ours, peer)),
        str(ratios(first, theirs)),
        str(
            ratios(
                [turn.ours_per_cpu_second for turn in turns],
                [turn.peer.per_cpu_second for turn in turns],
            )
        ),
    ]


def _turn(scale: Scale, loads: Sequence[Load], turn: int) -> Turn:
    ours, theirs = loads
    if turn == 0:
        for load in loads:
            closed_loop.run(load, WARM_SECONDS, seed=0)
    # Questions of their own each time: what was asked before is in the prefix cache.
    before, peer, after = (
        closed_loop.run(load, scale.seconds, seed=3 * turn + number + 1)
        for number, load in enumerate((ours, theirs, ours))
    )
    return Turn(before, peer, after)


def _equal(sides: Iterable[Side], names: Sequence[str]) -> bool:
    loads = [side.load(names, 1, is_streamed=False) for side in sides]
    ours, theirs = (closed_loop.texts(load, COMPARED, seed=7) for load in loads)
    return ours == theirs
