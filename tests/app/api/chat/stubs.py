"""A scripted engine and what stands round it, for tests of pure HTTP behaviour."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from adapters_registry.errors import RegistryError
from adapters_registry.types import AdapterVersion, Digest, Lease, LoadedAdapter, Tier
from app.adapters.resolver import ResolvedModel
from app.api.chat.service import ChatService
from app.engine.base import ChatDelta, ChatJob, ModelCard, Usage
from app.errors import model_not_found

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
CARD = ModelCard(BASE, "system", 2048, 1024, "fp_0123456789")


def answer(*texts: str, usage: Usage = USAGE) -> list[ChatDelta]:
    """Make the deltas of a whole answer."""
    *middle, last = texts
    return [*(ChatDelta(text) for text in middle), ChatDelta(last, "stop", usage)]


class StubEngine:
    """Plays a script: deltas to yield, errors to raise, events to wait for."""

    card = CARD
    adapters = None

    def __init__(self) -> None:
        self.script: Sequence[ChatDelta | Exception | asyncio.Event] = []
        self.jobs: list[ChatJob] = []
        self.waiting = asyncio.Event()
        self.closed = asyncio.Event()

    async def chat(self, job: ChatJob) -> AsyncGenerator[ChatDelta, None]:
        self.jobs.append(job)
        try:
            for step in self.script:
                if isinstance(step, ChatDelta):
                    yield step
                elif isinstance(step, asyncio.Event):
                    self.waiting.set()
                    await step.wait()
                else:
                    raise step
        finally:
            self.closed.set()

    async def check(self) -> None:
        return None


class StubAdapters:
    """Leases one adapter, or fails; counts what is held."""

    def __init__(self) -> None:
        self.held = 0
        self.given = 0
        self.error: RegistryError | None = None

    @asynccontextmanager
    async def lease(self, version: AdapterVersion) -> AsyncIterator[Lease]:
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

    def __init__(self, engine: StubEngine) -> None:
        self._engine = engine
        self.version = VERSION

    async def resolve(self, org_id: str, model: str) -> ResolvedModel:
        if model == BASE:
            return ResolvedModel(BASE, self._engine)
        if model == ADAPTER_MODEL and org_id == ORG:
            return ResolvedModel(ADAPTER_MODEL, self._engine, self.version)
        raise model_not_found(model)


class Recorder:
    """Keeps what the service observed."""

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.first_tokens: list[tuple[str, float]] = []
        self.usages: list[tuple[str, Usage]] = []

    def first_token(self, model: str, seconds: float) -> None:
        self.first_tokens.append((model, seconds))

    def generated(self, model: str, usage: Usage) -> None:
        self.usages.append((model, usage))

    def leased(self, lease: Lease) -> None:
        self.leases.append(lease)


class Rig:
    """A chat service with everything round it scripted."""

    def __init__(self) -> None:
        self.engine = StubEngine()
        self.adapters = StubAdapters()
        self.observer = Recorder()
        self.resolver = StubResolver(self.engine)
        self.service = ChatService(
            self.resolver, self.adapters, lambda org: f"salt of {org}", self.observer
        )
