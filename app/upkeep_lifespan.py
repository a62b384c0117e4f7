"""Starts what is cleared away in the background: old files, orphans, forgotten keys, old usage."""

from contextlib import AsyncExitStack
from functools import partial

from app.batches.orphans import BATCH_OBJECTS
from app.files.orphans import FILE_OBJECTS
from app.files.retention import Retention
from app.ground import Ground
from app.idempotency.sweep import forget_old_keys
from app.periodic import PeriodicTasks
from app.storage.orphans import OrphanSweep
from app.storage.ownership import StoreOwnership
from app.usage.sweep import forget_old_usage

FORGET_SECONDS = 3600.0


def start_upkeep(ground: Ground, stack: AsyncExitStack) -> None:
    """Start all of it; `stack` ends it."""
    periodic = PeriodicTasks(ground.metrics)
    stack.push_async_callback(periodic.close)
    sessions, settings = ground.database.sessions, ground.settings
    keep_seconds = settings.limits.idempotency_seconds
    forget = partial(forget_old_keys, sessions, keep_seconds=keep_seconds)
    periodic.start("idempotency keys", forget, every_seconds=FORGET_SECONDS)
    forget_usage = partial(forget_old_usage, sessions, keep_days=settings.usage.retention_days)
    periodic.start("usage retention", forget_usage, every_seconds=FORGET_SECONDS)
    retention = Retention(
        sessions,
        ground.store,
        ground.metrics,
        keep_seconds=settings.files.retention_seconds,
    )
    seldom = settings.files.sweep_seconds
    periodic.start("retention", retention.run_round, every_seconds=seldom)
    periodic.start("file sweep", _orphan_sweep(ground).sweep, every_seconds=seldom)


def _orphan_sweep(ground: Ground) -> OrphanSweep:
    return OrphanSweep(
        ground.database.sessions,
        ground.store,
        StoreOwnership(ground.database.sessions, ground.store, ground.work_dir),
        ground.metrics,
        [FILE_OBJECTS, BATCH_OBJECTS],
        grace_seconds=ground.settings.files.orphan_grace_seconds,
    )
