"""Batch lines and other requests at one real engine at the same time, and what each of them gets.

`Shared` is the service's own way: admission, leases and the batch lane. `Unheld` gives everything
to the engine at once, so that nothing but its priorities tells them apart.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Protocol

from adapters_registry.artifacts import publish
from adapters_registry.cache import DiskCache
from adapters_registry.digest import artifact_digest
from adapters_registry.directory import DirectoryStore
from adapters_registry.registry import AdapterRegistry
from adapters_registry.types import AdapterConfig, AdapterVersion, Artifact, LoadedAdapter
from app.adapters.resolver import ResolvedModel
from app.auth.authenticator import Caller
from app.engine.base import ChatJob, Delta, Run
from app.inference.admission import BoundedAdmission
from app.inference.capacity import SpareCapacity
from app.inference.context import RequestContext
from app.inference.generation import Generation
from app.inference.serving import Inference, Ports
from app.inference.spare import Displaced
from app.inference.tiers import PRIORITIES
from app.usage.tally import Tally
from tests.app.inference.stubs import Recorder, StubLimits
from tests.fixtures.engines import GREEDY, MODEL_ID, TinyEngine
from tests.fixtures.tiny_llama import TARGETS, write_adapter

TOKENS, LINE_TOKENS = 12, 64
PAUSE_SECONDS = 0.05
FIRST_SEED = 900
CHUNK = 64

_ids = itertools.count(1)


class Way(Protocol):
    """A way to the engine. `lines` is how many batch lines are on their way at once."""

    lines: int

    def stream(self, job: ChatJob, adapter: int | None, line: str) -> AsyncGenerator[Delta, None]:
        """Ask an adapter by its number; `line` names a batch line, and is empty for others."""
        ...


@dataclass
class Shared:
    """Through inference; adapters are leased."""

    inference: Inference
    admission: BoundedAdmission
    lines: int

    async def stream(
        self, job: ChatJob, adapter: int | None, line: str
    ) -> AsyncGenerator[Delta, None]:
        model = MODEL_ID if adapter is None else str(adapter)
        request = line or f"req_{next(_ids)}"
        context = RequestContext(Caller("org_1", "key_1"), request, is_batch=bool(line))
        async with (
            self.inference.open(Generation, context, model) as served,
            aclosing(served.generate(await served.prepare(job))) as deltas,
        ):
            async for delta in deltas:
                yield delta


@dataclass
class Unheld:
    """Straight to the engine, with the priorities of the tiers."""

    tiny: TinyEngine
    loaded: Sequence[LoadedAdapter]
    lines: int = 64

    async def stream(
        self, job: ChatJob, adapter: int | None, line: str
    ) -> AsyncGenerator[Delta, None]:
        priority = PRIORITIES["batch" if line else "on_demand"]
        run = Run(f"r{next(_ids)}", None if adapter is None else self.loaded[adapter], priority)
        prompt = await self.tiny.engine.prepare(job)
        async with aclosing(self.tiny.engine.generate(prompt, run)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                yield delta


@dataclass
class Seen:
    """What was measured, in seconds and tokens a second."""

    first_tokens: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    line_tokens: int = 0
    displaced: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return self.line_tokens / self.seconds

    def first_token(self, percent: int) -> float:
        return percentile(self.first_tokens, percent)

    def words(self) -> str:
        text = f"batch {self.rate:6.0f} tokens/s, displaced {self.displaced}"
        for name, values in (("first token", self.first_tokens), ("gap", self.gaps)):
            if values:
                at = [f"p{percent} {1e3 * percentile(values, percent):.1f}" for percent in (50, 99)]
                text += f"; {name} {' '.join(at)} max {1e3 * max(values):.1f} ms"
        return text

    def add(self, other: "Seen") -> None:
        self.first_tokens += other.first_tokens
        self.gaps += other.gaps
        self.line_tokens += other.line_tokens
        self.displaced += other.displaced
        self.seconds += other.seconds


def percentile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]


@dataclass
class Traffic:
    """Lines of some adapters, chunk by chunk, and requests of one, for some seconds."""

    tiny: TinyEngine
    way: Way
    line_adapters: Sequence[int | None] = ()
    adapter: int | None = None
    asks: bool = True
    seen: Seen = field(default_factory=Seen)

    async def run(self, seconds: float) -> Seen:
        numbers = itertools.count()
        workers = [asyncio.create_task(self._work(numbers)) for _ in range(self._workers)]
        await asyncio.sleep(0.5)
        self.seen = Seen()
        begun = perf_counter()
        while perf_counter() - begun < seconds:
            async with asyncio.TaskGroup() as group:
                if self.asks:
                    group.create_task(self._ask())
                await asyncio.sleep(PAUSE_SECONDS)
        self.seen.seconds = perf_counter() - begun
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return self.seen

    @property
    def _workers(self) -> int:
        return self.way.lines if self.line_adapters else 0

    async def _work(self, numbers: "itertools.count[int]") -> None:
        while True:
            number = next(numbers)
            adapter = self.line_adapters[number // CHUNK % len(self.line_adapters)]
            job = self._job(f"Line {number}.", LINE_TOKENS, stream=False)
            while not await self._line_ends(job, adapter, f"line_{id(self)}_{number}"):
                self.seen.displaced += 1

    async def _line_ends(self, job: ChatJob, adapter: int | None, line: str) -> bool:
        try:
            async with aclosing(self.way.stream(job, adapter, line)) as deltas:
                async for delta in deltas:
                    self.seen.line_tokens += delta.tokens
        except Displaced:
            return False
        return True

    async def _ask(self) -> None:
        job = self._job(f"Ask {next(_ids)}.", TOKENS)
        last = perf_counter()
        into = self.seen.first_tokens
        async with aclosing(self.way.stream(job, self.adapter, "")) as deltas:
            async for _ in deltas:
                now = perf_counter()
                into.append(now - last)
                last, into = now, self.seen.gaps

    def _job(self, text: str, tokens: int, *, stream: bool = True) -> ChatJob:
        sampling = replace(GREEDY, max_tokens=tokens)
        return self.tiny.job(text, sampling=sampling, stream=stream)


@dataclass(frozen=True)
class _Resolver:
    """Knows the base model, and adapters by their number."""

    tiny: TinyEngine
    versions: Sequence[AdapterVersion]

    async def resolve(self, org_id: str, model: str) -> ResolvedModel:
        version = None if model == MODEL_ID else self.versions[int(model)]
        return ResolvedModel(model, self.tiny.engine, version)


@asynccontextmanager
async def shared(
    tiny: TinyEngine, room: Path, adapters: int, *, batch_share: float = 1.0
) -> AsyncIterator[Shared]:
    """Have so many adapters in a store, and all that stands between them and requests."""
    host = tiny.engine.adapters
    assert host is not None
    store = DirectoryStore(room / "store")
    versions = [await _publish(store, room, number) for number in range(adapters)]
    admission = BoundedAdmission(
        [tiny.engine.card], queue=2.0, batch_share=batch_share, hosts={MODEL_ID: host}
    )
    async with DiskCache(room / "cache", store, max_bytes=1 << 30) as cache:
        registry = AdapterRegistry(cache, {MODEL_ID: host}, wait_seconds=60.0)
        ports = Ports(
            resolver=_Resolver(tiny, versions),
            adapters=registry,
            limits=StubLimits(),
            admission=admission,
            observer=Recorder(),
            ledger=Tally(),
            salt=lambda org: org,
        )
        lines = SpareCapacity({MODEL_ID: tiny.engine}, admission).lines(MODEL_ID)
        yield Shared(Inference(ports), admission, lines)
        for version in versions:
            await registry.discard(version)
        await registry.close()


async def _publish(store: DirectoryStore, room: Path, number: int) -> AdapterVersion:
    directory = room / str(number)
    write_adapter(directory, FIRST_SEED + number)
    version = AdapterVersion(artifact_digest(directory), MODEL_ID, stored_as=f"adapter-{number}")
    config = AdapterConfig(8, 8.0, tuple(TARGETS), False)
    await publish(store, Artifact(version, directory, config, 1), f"adapter-{number}")
    return version


@asynccontextmanager
async def unheld(tiny: TinyEngine, adapters: int) -> AsyncIterator[Unheld]:
    """Load so many adapters, and let everybody ask them."""
    host = tiny.engine.adapters
    assert host is not None
    loaded = [tiny.adapter(FIRST_SEED + number) for number in range(adapters)]
    for each in loaded:
        await host.load(each)
    yield Unheld(tiny, loaded)
    for each in loaded:
        await host.unload(each)
