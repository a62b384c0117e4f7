"""Opens everything that the application lives on, in order, and closes it in reverse."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import structlog
from fastapi import FastAPI
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.registry import Collector

from adapters_registry.store import ObjectStore
from app.adapters_lifespan import Adapters, open_adapters
from app.api.batches.service import BatchesService
from app.api.chat.service import ChatService
from app.api.completions.service import CompletionsService
from app.api.embeddings.service import EmbeddingsService
from app.api.files.service import FilesService
from app.api.health.service import HealthService, Parts
from app.api.models.service import ModelsService
from app.api.reranking.service import RerankingService
from app.api.responses.service import ResponsesService
from app.api.speech.service import SpeechService
from app.api.transcriptions.service import TranscriptionsService
from app.api.usage.service import UsageService
from app.auth.authenticator import Authenticator
from app.auth.errors import AuthError
from app.auth.secret import load_secret
from app.batch_endpoints import make_endpoints
from app.batches_lifespan import open_batches
from app.catalog import Catalog
from app.data_directory import DataDirectoryInUse, exclusive
from app.db.engine import Database, database_url
from app.db.errors import DatabaseError
from app.db.migrate import migrate, verify_schema
from app.drain import Drain, Stopping
from app.engine.base import EngineError
from app.engines_lifespan import open_engines, start_supervision
from app.ground import Ground
from app.inference_lifespan import (
    OpenInference,
    make_audio_intake,
    open_fetcher,
    open_images,
    open_inference,
)
from app.limits.plans import PlansError
from app.observability.metrics import Metrics
from app.pools_lifespan import OpenPools, open_pools
from app.settings import Settings
from app.state import State
from app.storage.opening import make_store
from app.upkeep_lifespan import start_upkeep
from app.usage_lifespan import open_usage

log = structlog.get_logger()

START_ERRORS = (AuthError, DatabaseError, DataDirectoryInUse, EngineError, PlansError)
"""What an operator can mend; the message says how."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[State]]


def make_lifespan(settings: Settings, catalog: Catalog, metrics: Metrics, drain: Drain) -> Lifespan:
    """Return the lifespan of an application with these settings.

    The drain is asked for where a model is lost for good.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            try:
                async with drain.starting():
                    state = await _open(settings, catalog, metrics, drain, stack)
            except Stopping as stopping:
                log.info("not started", reason=str(stopping))
                raise
            except START_ERRORS as error:
                log.critical("cannot start", reason=str(error))
                raise
            log.info("started")
            yield state
            log.info("stopping")

    return lifespan


async def _open(
    settings: Settings,
    catalog: Catalog,
    metrics: Metrics,
    drain: Drain,
    stack: AsyncExitStack,
) -> State:
    stack.enter_context(exclusive(settings.data_dir))
    work_dir = await asyncio.to_thread(_empty_directory, settings.data_dir / "work")
    pepper = await asyncio.to_thread(load_secret, settings.auth.secret, settings.data_dir)
    database = await _open_database(settings, stack)
    ledger = open_usage(database, settings.usage, metrics, stack)
    store = _open_store(settings, stack)
    engines, supervised = await open_engines(catalog, stack)
    files = FilesService(database.sessions, store, settings.limits, settings.files)
    ground = Ground(settings, catalog, metrics, pepper, work_dir, database, store, engines)
    adapters = await open_adapters(ground, files.adapter_key, stack)
    start_supervision(ground, supervised, adapters.registry, drain, stack)
    opened = open_inference(ground, adapters.registry, ledger, stack)
    batch_change = asyncio.Event()
    may_batch = partial(opened.limits.allows, tier="batch")
    batches = BatchesService(
        database.sessions,
        settings.batches,
        may_batch,
        quota_bytes=settings.files.quota_bytes,
        on_change=batch_change.set,
    )
    state = _state(ground, files, batches, adapters, opened, drain, stack)
    start_upkeep(ground, stack)
    endpoints = make_endpoints(
        chat=state["chat"],
        completions=state["completions"],
        embeddings=state["embeddings"],
        reranking=state["reranking"],
        responses=state["responses"],
        transcriptions=state["transcriptions"],
    )
    await open_batches(ground, endpoints, opened.capacity, batch_change, stack)
    return state


def _state(
    ground: Ground,
    files: FilesService,
    batches: BatchesService,
    adapters: Adapters,
    opened: OpenInference,
    drain: Drain,
    stack: AsyncExitStack,
) -> State:
    settings, sessions, engines = ground.settings, ground.database.sessions, ground.engines
    inference, elsewhere = opened.inference, open_pools(ground, stack)
    fetcher = open_fetcher(settings.fetch, stack)
    images = open_images(fetcher, settings.fetch, stack)
    audio = make_audio_intake(fetcher, settings.limits)
    collected = _registry_of(engines.metrics, *adapters.collectors)
    return State(
        adapters=adapters.service,
        authenticator=Authenticator(sessions, ground.pepper, settings.auth.cache_seconds),
        batches=batches,
        body_limit_bytes=settings.limits.body_bytes,
        chat=ChatService(inference, images),
        completions=CompletionsService(inference),
        embeddings=EmbeddingsService(inference),
        files=files,
        forwarder=elsewhere.forwarder,
        health=HealthService(
            _parts(ground, drain), [ground.metrics.registry, collected, REGISTRY], ground.metrics
        ),
        models=_models(ground, adapters, elsewhere),
        reranking=RerankingService(inference),
        responses=ResponsesService(inference, images),
        speech=SpeechService(inference),
        spool_dir=ground.work_dir,
        transcriptions=TranscriptionsService(inference, audio, ground.work_dir, settings.limits),
        usage=UsageService(sessions),
    )


def _models(ground: Ground, adapters: Adapters, elsewhere: OpenPools) -> ModelsService:
    return ModelsService(
        ground.engines.running,
        ground.engines.absent,
        adapters.service,
        started_at=int(time.time()),
        pools=ground.pools,
        listing=elsewhere.listing,
    )


def _empty_directory(path: Path) -> Path:
    """Make the directory, without what a killed process may have left in it."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, exist_ok=True)
    return path


async def _open_database(settings: Settings, stack: AsyncExitStack) -> Database:
    url = database_url(settings.database, settings.data_dir)
    database = Database(url, pool_size=settings.database.pool_size)
    stack.push_async_callback(database.close)
    if settings.database.url is None:
        await migrate(database)
    await verify_schema(database)
    return database


def _open_store(settings: Settings, stack: AsyncExitStack) -> ObjectStore:
    store = make_store(settings)
    stack.push_async_callback(store.close)
    return store


def _parts(ground: Ground, drain: Drain) -> Parts:
    optional = {spec.id for spec in ground.catalog.models if spec.optional}
    checks = {id: engine.check for id, engine in ground.engines.running.items()}
    return Parts(
        vital={"server": drain.check, "database": ground.database.check},
        useful={"store": ground.store.check},
        models={id: check for id, check in checks.items() if id not in optional},
        optional_models={id: check for id, check in checks.items() if id in optional},
        absent=ground.engines.absent,
    )


def _registry_of(*collectors: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry
