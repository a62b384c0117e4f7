"""Batch lines that tests begin, watch and end, at a gate of which they see every count."""

import asyncio
from collections.abc import Hashable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

from adapters_registry.errors import AdapterCapacityExceeded
from app.engine.base import ModelCard
from app.inference.admission import BoundedAdmission
from app.inference.spare import Line
from app.inference.tiers import Tier

MODEL = "tiny"
CARD = ModelCard(MODEL, "system", 100, 100, "fp_0", max_running=10, cache_tokens=1000)
SPARE = 8
"""Of `make_admission`."""


@dataclass(frozen=True)
class Host:
    """Says how many adapters an engine runs at once, and how many requests of each."""

    slots: int = 3
    max_running_each: int = 6
    max_running: int = CARD.max_running


def make_admission(host: Host | None = None, **options) -> BoundedAdmission:
    """Make one where 10 run, 2 of them reserved."""
    hosts = {} if host is None else {MODEL: host}
    return BoundedAdmission([CARD], **{"queue": 1.0, "reserve": 0.2} | options, hosts=hosts)


async def settle() -> None:
    """Let all that can happen now happen."""
    for _ in range(12):
        await asyncio.sleep(0)


@dataclass(eq=False)
class Asked:
    """One line and what became of it."""

    name: str
    number: int
    age: int
    tokens: int
    adapter: Hashable | None
    task: asyncio.Task[None] | None = None
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    is_inside: bool = False
    is_displaced: bool = False
    has_ended: bool = False


class Lines:
    """Begins lines at an admission. `no_turn` are the adapters that none can have now."""

    def __init__(self, admission: BoundedAdmission) -> None:
        self.admission = admission
        self.asked: list[Asked] = []
        self.begun: list[str] = []
        self.tried: list[str] = []
        self.no_turn: set[Hashable] = set()
        self.others: list[tuple[ExitStack, int, Hashable]] = []

    def ask(self, name: str | None = None, *, tokens: int = 1, adapter: Hashable = None) -> Asked:
        number = len(self.asked)
        first = next((each.age for each in self.asked if each.name == name), number)
        asked = Asked(name or str(number), number, first, tokens, adapter)
        asked.task = asyncio.create_task(self._run(asked))
        self.asked.append(asked)
        return asked

    async def ask_all(self, count: int, **options) -> list[Asked]:
        asked = [self.ask(**options) for _ in range(count)]
        await settle()
        return asked

    async def _run(self, asked: Asked) -> None:
        def give_way() -> None:
            assert asked.is_inside, "only who has a place is asked to give it up"
            assert not asked.is_displaced, "nobody is asked twice"
            asked.is_displaced = True
            assert asked.task is not None
            asked.task.cancel()

        line = Line(asked.name, asked.tokens, asked.adapter, give_way)
        while not asked.has_ended:
            try:
                async with self.admission.spare(MODEL, line):
                    await self._hold(asked)
            except AdapterCapacityExceeded:
                continue

    async def _hold(self, asked: Asked) -> None:
        self.tried.append(asked.name)
        if asked.adapter in self.no_turn:
            raise AdapterCapacityExceeded("no turn")
        asked.is_inside = True
        self.begun.append(asked.name)
        try:
            if asked.adapter is not None:
                self.admission.has_turn(MODEL, asked.adapter)
            await asked.may_end.wait()
            asked.has_ended = True
        finally:
            asked.is_inside = False

    async def end(self, *asked: Asked) -> None:
        for each in asked:
            each.may_end.set()
        await settle()

    async def cancel(self, asked: Asked) -> None:
        assert asked.task is not None
        asked.task.cancel()
        await settle()

    async def enter(self, tier: Tier = "on_demand", tokens: int = 1, adapter=None) -> None:
        """Have another request come in; it lets lines that it displaces get on."""
        stack = ExitStack()
        stack.enter_context(self.admission.enter(MODEL, tier, tokens))
        if adapter is not None:
            stack.enter_context(self.admission.turn(MODEL, adapter))
        self.others.append((stack, tokens, adapter))
        await settle()

    async def leave(self, index: int = -1) -> None:
        self.others.pop(index)[0].close()
        await settle()

    async def drain(self) -> None:
        """End others, then what runs, until nobody is left."""
        while self.others:
            await self.leave()
        while inside := self.inside():
            await self.end(*inside)

    def inside(self) -> list[Asked]:
        return [each for each in self.asked if each.is_inside]

    def displaced(self) -> list[Asked]:
        return [each for each in self.asked if each.is_displaced]

    def numbers(self, lines: Iterable[Asked]) -> list[int]:
        return [each.number for each in lines]

    def counts(self) -> tuple[int, int, int]:
        """Return the lines inside, the tokens inside and the lines that wait, as admission does."""
        stats = self.admission.stats()[MODEL]
        return stats.inside.get("batch", 0), stats.tokens, stats.lines_waiting
