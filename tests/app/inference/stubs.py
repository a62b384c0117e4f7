"""A scripted engine and what stands round it, for tests of pure HTTP behaviour."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters_registry.errors import RegistryError
from adapters_registry.types import AdapterVersion, Digest, Lease, LoadedAdapter, Tier
from app.adapters.resolver import ResolvedModel
from app.auth.authenticator import Caller
from app.engine.base import Delta, Engine, Job, ModelCard, Prompt, Run, TextJob, Usage
from app.errors import ApiError, model_not_found
from app.inference.admission import BoundedAdmission
from app.inference.context import RequestContext
from app.inference.serving import Inference, Ports
from app.usage.tally import Tally
from app.usage.types import Account, Amounts

ORG = "org_01jh6x76wtemjr74t1fh0faj5t"
REQUEST = "req_01jh6x76wtemjr74t1fh0faj5t"
BASE = "tiny-base"
DIGEST = Digest("ab" * 32)
VERSION = AdapterVersion(DIGEST, BASE)
ADAPTER_MODEL = f"ft:{BASE}:{ORG}/pirate-{DIGEST[:12]}"
WAIT_SECONDS = 0.01234
ADAPTER_HEADERS = {
    "x-adapter-digest": DIGEST,
    "x-adapter-tier": "disk",
    "x-adapter-wait-ms": "12.3",
}
USAGE = Usage(
    prompt_tokens=7,
    completion_tokens=3,
    cached_tokens=0,
    queue_seconds=0.125,
    prompt_seconds=0.25,
    completion_seconds=0.5,
)
CARD = ModelCard(
    BASE,
    "system",
    2048,
    1024,
    "fp_0123456789",
    max_running=8,
    takes_tools=True,
    reasons=True,
    reasoning_efforts=("none", "default", "low", "high"),
)


def answer(*texts: str, usage: Usage = USAGE) -> list[Delta]:
    """Make the deltas of a whole answer."""
    *middle, last = texts
    end = Delta(last, finish_reason="stop", usage=usage, raw="".join(texts), tokens=1)
    return [*(Delta(text, tokens=1) for text in middle), end]


Script = Sequence[Delta | Exception | asyncio.Event]


@dataclass(frozen=True)
class StubPrompt:
    """A job that counts as rendered."""

    job: Job
    tokens: int = USAGE.prompt_tokens
    max_tokens: int = 100
    text: str = ""


class StubEngine:
    """Plays a script: deltas to yield, errors to raise, events to wait for.

    A text job may have one of its own, by its prompt; `running` counts what is open. `pauses` are
    turns of the loop that it lets pass before its steps.
    """

    adapters = None

    def __init__(self) -> None:
        self.card = CARD
        self.script: Script = []
        self.scripts: dict[str, Script] = {}
        self.running = 0
        self.most_running = 0
        self.pauses: Iterator[int] = itertools.repeat(0)
        self.refusal: Exception | None = None
        self.jobs: list[Any] = []
        self.runs: list[Run] = []
        self.waiting = asyncio.Event()
        self.closed = asyncio.Event()

    async def prepare(self, job: Job) -> StubPrompt:
        self.jobs.append(job)
        if self.refusal is not None:
            raise self.refusal
        wanted = job.sampling.max_tokens
        text = str(job.prompt) if isinstance(job, TextJob) and job.echo else ""
        return StubPrompt(job, max_tokens=100 if wanted is None else wanted, text=text)

    async def generate(self, prompt: Prompt, run: Run) -> AsyncGenerator[Delta, None]:
        self.runs.append(run)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            for step in self._script(prompt):
                for _ in range(next(self.pauses)):
                    await asyncio.sleep(0)
                if isinstance(step, Delta):
                    yield step
                elif isinstance(step, asyncio.Event):
                    self.waiting.set()
                    await step.wait()
                else:
                    raise step
        finally:
            self.running -= 1
            self.closed.set()

    def _script(self, prompt: Prompt) -> Script:
        assert isinstance(prompt, StubPrompt)
        if not isinstance(prompt.job, TextJob):
            return self.script
        return self.scripts.get(str(prompt.job.prompt), self.script)

    async def probe(self, run: Run) -> None:
        self.runs.append(run)

    async def check(self) -> None:
        return None


class StubAdapters:
    """Leases one adapter, or fails; counts what is held."""

    def __init__(self) -> None:
        self.held = 0
        self.given = 0
        self.waits: list[float | None] = []
        self.error: RegistryError | None = None

    @asynccontextmanager
    async def lease(
        self,
        version: AdapterVersion,
        *,
        wait_seconds: float | None = None,
        gives_way: bool = False,
    ) -> AsyncIterator[Lease]:
        self.waits.append(wait_seconds)
        if self.error:
            raise self.error
        self.held += 1
        self.given += 1
        try:
            yield Lease(LoadedAdapter(version, 5, Path("adapter")), Tier.DISK, WAIT_SECONDS)
        finally:
            self.held -= 1


class StubResolver:
    """Knows the base model and one adapter of one organisation."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.version = VERSION

    async def resolve(self, org_id: str, model: str) -> ResolvedModel:
        if model == BASE:
            return ResolvedModel(BASE, self._engine)
        if model == ADAPTER_MODEL and org_id == ORG:
            return ResolvedModel(ADAPTER_MODEL, self._engine, self.version)
        raise model_not_found(model)


@dataclass
class StubBudget:
    """Says yes, or what it was told to say; remembers what it was asked."""

    limits: "StubLimits"
    tier: str
    reserved: list[int] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def headers(self) -> Mapping[str, str]:
        used = self.settled[-1] if self.settled else sum(self.reserved)
        return {"x-ratelimit-remaining-tokens": str(6000 - used)}

    async def reserve_tokens(self, tokens: int) -> None:
        if (refusal := self.limits.no_tokens.get(self.tier)) is not None:
            raise refusal
        self.reserved.append(tokens)

    async def reserve_seconds(self, seconds: float) -> None:
        if (refusal := self.limits.no_seconds.get(self.tier)) is not None:
            raise refusal
        self.seconds.append(seconds)

    async def return_seconds(self) -> None:
        self.seconds.pop()

    async def settle(self, *, tokens: int) -> None:
        self.settled.append(tokens)


class StubLimits:
    """Gives budgets of every tier, unless it is told otherwise."""

    def __init__(self) -> None:
        self.tiers = {"performance", "on_demand", "flex"}
        self.no_requests: dict[str, ApiError] = {}
        self.no_tokens: dict[str, ApiError] = {}
        self.no_seconds: dict[str, ApiError] = {}
        self.budgets: list[StubBudget] = []

    def allows(self, plan: str | None, tier: str) -> bool:
        return tier in self.tiers

    async def open(self, org_id: str, plan: str | None, model: str, tier: str) -> StubBudget:
        if (refusal := self.no_requests.get(tier)) is not None:
            raise refusal
        self.budgets.append(StubBudget(self, tier))
        return self.budgets[-1]


class Recorder:
    """Keeps what was observed."""

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.first_tokens: list[tuple[str, float]] = []
        self.usages: list[tuple[str, Usage]] = []
        self.cut: list[tuple[str, int, int]] = []
        self.audio_in: list[tuple[str, float]] = []
        self.audio_out: list[tuple[str, float]] = []
        self.adapter_first_tokens: list[tuple[str, str, float]] = []
        self.used_amounts: list[tuple[Account, Amounts]] = []
        self.limit_refusals: list[tuple[str, str, str, str]] = []

    def first_token(self, model: str, seconds: float) -> None:
        self.first_tokens.append((model, seconds))

    def generated(self, model: str, usage: Usage) -> None:
        self.usages.append((model, usage))

    def abandoned(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        self.cut.append((model, prompt_tokens, completion_tokens))

    def heard(self, model: str, seconds: float) -> None:
        self.audio_in.append((model, seconds))

    def spoken(self, model: str, seconds: float) -> None:
        self.audio_out.append((model, seconds))

    def leased(self, lease: Lease) -> None:
        self.leases.append(lease)

    def adapter_first_token(self, base_model: str, adapter: str, seconds: float) -> None:
        self.adapter_first_tokens.append((base_model, adapter, seconds))

    def used(self, account: Account, amounts: Amounts) -> None:
        self.used_amounts.append((account, amounts))

    def limit_refused(self, org_id: str, model: str, tier: str, unit: str) -> None:
        self.limit_refusals.append((org_id, model, tier, unit))


class StubImages:
    """Takes every image as it is."""

    async def taken_in(
        self,
        messages: Sequence[dict[str, Any]],
        card: ModelCard,
        *,
        org_id: str,
        field: str = "messages",
    ) -> list[dict[str, Any]]:
        return list(messages)


class Surroundings:
    """Inference round one engine, with everything else scripted."""

    def __init__(self, engine: Engine) -> None:
        self.adapters = StubAdapters()
        self.observer = Recorder()
        self.ledger = Tally(clock=lambda: 0.0)
        self.limits = StubLimits()
        self.resolver = StubResolver(engine)
        self.admission = BoundedAdmission([engine.card], queue=4)
        self.inference = self.inference_with(self.admission)
        self.context = RequestContext(Caller(ORG, "key_1"), REQUEST)

    def inference_with(self, admission: BoundedAdmission) -> Inference:
        """Make inference whose admission is another one."""
        return Inference(
            Ports(
                resolver=self.resolver,
                adapters=self.adapters,
                limits=self.limits,
                admission=admission,
                observer=self.observer,
                ledger=self.ledger,
                salt=lambda org: f"salt of {org}",
            )
        )


class InferenceRig(Surroundings):
    """Inference with everything round it scripted, a chat model too."""

    def __init__(self) -> None:
        self.engine = StubEngine()
        super().__init__(self.engine)
