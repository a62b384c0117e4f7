"""Traffic that would show one tenant's weights in another's answer; run alone or by a test.

More adapters than the engine's host cache holds, and that more than its slots, are registered
while base-model and adapter requests run together. Each answer is compared with the one the same
request gets with nothing else running.

`python -m tests.e2e.mixed_traffic MODEL_DIRECTORY ROOM` prints the wrong answers as JSON: how many
of the base model's, how many of adapters', of how many.
"""

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from adapters_registry.artifacts import publish
from adapters_registry.cache import DiskCache
from adapters_registry.digest import artifact_digest
from adapters_registry.directory import DirectoryStore
from adapters_registry.registry import AdapterRegistry
from adapters_registry.types import AdapterConfig, AdapterVersion, Artifact
from app.catalog import Catalog
from app.engine.base import Sampling
from app.engine.factory import start_engines
from tests.fixtures.engines import MODEL_ID, TinyEngine, import_vllm, tiny_spec
from tests.fixtures.tiny_llama import TARGETS, write_adapter

ADAPTERS = 24
AT_ONCE = 12
PROMPTS = ("Who are you?", "Tell me where this request was routed, in a few words.")
SAMPLING = Sampling(temperature=0.0, max_tokens=24)

Version = AdapterVersion | None
Request = tuple[Version, str]


@dataclass(frozen=True, slots=True)
class Wrong:
    """How many answers differed from those given alone."""

    base: int
    adapter: int
    asked: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests to one engine, each under a lease of its adapter."""

    tiny: TinyEngine
    registry: AdapterRegistry

    async def ask(self, version: Version, prompt: str) -> str:
        if version is None:
            return await self.tiny.text(self.tiny.job(prompt, sampling=SAMPLING))
        async with self.registry.lease(version) as lease:
            job = self.tiny.job(prompt, sampling=SAMPLING)
            return await self.tiny.text(job, lease.adapter)

    async def together(self, requests: list[Request]) -> list[str]:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(version: Version, prompt: str) -> str:
            async with turn:
                return await self.ask(version, prompt)

        return list(await asyncio.gather(*(one(*request) for request in requests)))


def _artifact(directory: Path, seed: int) -> Artifact:
    write_adapter(directory, seed, rank=16 if seed % 3 == 0 else 8)
    digest = artifact_digest(directory)
    version = AdapterVersion(digest, MODEL_ID, stored_as=digest)
    return Artifact(version, directory, AdapterConfig(8, 8.0, tuple(TARGETS), False), 1)


async def measure(tiny: TinyEngine, room: Path) -> Wrong:
    """Ask everything alone, then all of it together while half the adapters are registered."""
    artifacts = [_artifact(room / f"new-{seed}", seed) for seed in range(ADAPTERS)]
    versions = [artifact.version for artifact in artifacts]
    known, new = artifacts[: ADAPTERS // 2], artifacts[ADAPTERS // 2 :]
    requests = _requests([artifact.version for artifact in known])
    last: list[Request] = [(artifact.version, PROMPTS[0]) for artifact in new]
    everything = await _published(room / "everything", artifacts)
    async with _traffic(tiny, everything, room / "alone", versions) as traffic:
        alone = {request: await traffic.ask(*request) for request in {*requests, *last}}
    assert len(set(alone.values())) == len(alone), "answers must tell adapters apart"
    store = await _published(room / "store", known)
    async with _traffic(tiny, store, room / "mixed", versions) as traffic:
        answers, late = await asyncio.gather(
            traffic.together(requests), _register(traffic, store, new)
        )
    return _compare(alone, [*requests, *last], [*answers, *late])


async def _register(traffic: Traffic, store: DirectoryStore, new: list[Artifact]) -> list[str]:
    answers = []
    for artifact in new:
        await publish(store, artifact, artifact.version.digest)
        answers.append(await traffic.ask(artifact.version, PROMPTS[0]))
    return answers


async def _published(root: Path, artifacts: list[Artifact]) -> DirectoryStore:
    store = DirectoryStore(root)
    for artifact in artifacts:
        await publish(store, artifact, artifact.version.digest)
    return store


def _compare(alone: dict[Request, str], requests: list[Request], answers: list[str]) -> Wrong:
    pairs = zip(requests, answers, strict=True)
    wrong = [request for request, answer in pairs if answer != alone[request]]
    base = sum(version is None for version, _ in wrong)
    return Wrong(base, len(wrong) - base, len(requests))


def _requests(versions: list[AdapterVersion]) -> list[Request]:
    """Return each known adapter and the base model, often, in an order that mixes them."""
    known: list[Version] = list(versions[: ADAPTERS // 2])
    requests = [(version, prompt) for version in known for prompt in PROMPTS] * 3
    requests += [(None, prompt) for prompt in PROMPTS] * ADAPTERS
    random.Random(1).shuffle(requests)
    return requests


@asynccontextmanager
async def _traffic(
    tiny: TinyEngine, store: DirectoryStore, cache_root: Path, versions: list[AdapterVersion]
) -> AsyncIterator[Traffic]:
    assert tiny.engine.adapters is not None
    async with DiskCache(cache_root, store, max_bytes=1 << 30) as cache:
        registry = AdapterRegistry(cache, {MODEL_ID: tiny.engine.adapters}, wait_seconds=60.0)
        yield Traffic(tiny, registry)
        for version in versions:
            await registry.discard(version)
        await registry.close()


async def _main(model: Path, room: Path) -> None:
    import_vllm()
    engines = await start_engines(Catalog(models=(tiny_spec(model),)))
    try:
        wrong = await measure(TinyEngine(engines, engines.running[MODEL_ID], room), room)
    finally:
        await engines.close()
    print(json.dumps(asdict(wrong)))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), Path(sys.argv[2])))
