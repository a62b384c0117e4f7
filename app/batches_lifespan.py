"""Opens the batches' part of a replica: the work on them in the background, and how it is told."""

import asyncio
from contextlib import AsyncExitStack

from app.batches import leases
from app.batches.finalizer import Finalizer
from app.batches.stats import STATS_SECONDS, QueueWatch
from app.batches.types import Capacity, Endpoints
from app.batches.validator import Validator
from app.batches.worker import Worker, WorkerPorts
from app.ground import Ground
from app.periodic import PeriodicTasks


async def open_batches(
    ground: Ground,
    endpoints: Endpoints,
    capacity: Capacity,
    change: asyncio.Event,
    stack: AsyncExitStack,
) -> None:
    """Start to watch batches, and to work on them unless this replica is not to; `stack` ends it.

    `change` is set where a batch is created or cancelled here. To be opened after, and so closed
    before, whatever the endpoints and the capacity stand on.
    """
    _start_watching(ground, stack)
    settings = ground.settings.batches
    if not settings.enabled:
        return
    if ground.settings.database.url is None:
        # The data directory is this process's alone: what holds leases in it is dead.
        async with ground.database.sessions.begin() as session:
            await leases.end_all(session)
    sessions, store, work_dir = ground.database.sessions, ground.store, ground.work_dir
    # Chunks are labelled for whoever serves their model; a worker takes those of its own alone.
    served = ground.pools.models.union(spec.id for spec in ground.catalog.models)
    ports = WorkerPorts(
        sessions=sessions,
        store=store,
        work_dir=work_dir,
        endpoints=endpoints,
        capacity=capacity,
        validator=Validator(sessions, store, work_dir, settings, served),
        finalizer=Finalizer(sessions, store, work_dir),
        observer=ground.metrics,
        change=change,
    )
    worker = Worker(ports, settings)
    stack.push_async_callback(worker.close)
    worker.start()


def _start_watching(ground: Ground, stack: AsyncExitStack) -> None:
    periodic = PeriodicTasks(ground.metrics)
    stack.push_async_callback(periodic.close)
    watch = QueueWatch(ground.database.sessions, ground.metrics)
    periodic.start("batch statistics", watch.look, every_seconds=STATS_SECONDS)
