"""Opens the adapters' part of a replica: cache, registry, service, and their background work."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from prometheus_client.registry import Collector

from adapters_registry.cache import DiskCache
from adapters_registry.host import AdapterHost
from adapters_registry.registry import AdapterRegistry
from app.adapters.bucket_actions import BucketActions
from app.adapters.bucket_sync import BucketSync
from app.adapters.intake import AdapterIntake
from app.adapters.orphans import ARTIFACT_OBJECTS
from app.adapters.pins import Pins
from app.adapters.publisher import AdapterPublisher
from app.adapters.service import AdapterService, UploadKey
from app.adapters.sweeper import Sweeper
from app.adapters.withdrawals import Withdrawals
from app.ground import Ground
from app.observability.adapters import AdapterCollector
from app.observability.bucket import BucketCollector
from app.observability.disk import DiskCollector
from app.observability.hosts import CountedHost
from app.periodic import PeriodicTasks
from app.storage.orphans import OrphanSweep
from app.storage.ownership import StoreOwnership


@dataclass(frozen=True, slots=True)
class Adapters:
    """What the rest of the application uses of them."""

    service: AdapterService
    registry: AdapterRegistry
    collectors: Sequence[Collector]


async def open_adapters(ground: Ground, upload_key: UploadKey, stack: AsyncExitStack) -> Adapters:
    """Open all parts and start their background work; `stack` closes them."""
    sessions = ground.database.sessions
    cache = await _open_cache(ground, stack)
    registry = _open_registry(ground, cache, stack)
    publisher = AdapterPublisher(sessions, ground.store, cache, registry)
    withdrawals = Withdrawals(publisher)
    stack.push_async_callback(withdrawals.close)
    pins = Pins(
        sessions,
        registry,
        _hosts(ground),
        per_organization=ground.settings.adapters.pins_per_organization,
    )
    service = AdapterService(
        sessions,
        _intake(ground),
        publisher,
        withdrawals,
        pins,
        ground.engines.running,
        upload_key,
        ground.pools,
    )
    disk = DiskCollector(cache, ground.settings.data_dir)
    collectors: list[Collector] = [AdapterCollector(registry), disk]
    periodic = PeriodicTasks(ground.metrics)
    stack.push_async_callback(periodic.close)
    sweeper = Sweeper(sessions, cache, registry, ground.metrics)
    _start_upkeep(ground, periodic, pins, sweeper)
    if ground.settings.sync.prefix is not None:
        sync = _sync(ground, publisher, withdrawals)
        seconds = ground.settings.sync.interval_seconds
        periodic.start("bucket sync", sync.run_round, every_seconds=seconds)
        collectors.append(BucketCollector(sync))
    return Adapters(service, registry, collectors)


async def _open_cache(ground: Ground, stack: AsyncExitStack) -> DiskCache:
    cache = DiskCache(
        ground.settings.data_dir / "cache",
        ground.store,
        max_bytes=ground.settings.adapters.cache_bytes,
        on_refused=ground.metrics.fetch_refused,
    )
    return await stack.enter_async_context(cache)


def _open_registry(ground: Ground, cache: DiskCache, stack: AsyncExitStack) -> AdapterRegistry:
    metrics = ground.metrics
    for base_model in _hosts(ground):
        metrics.adapters_served(base_model)
    registry = AdapterRegistry(
        cache,
        {id: CountedHost(host, metrics) for id, host in _hosts(ground).items()},
        wait_seconds=ground.settings.adapters.lease_wait_seconds,
        on_load=metrics.adapter_loaded,
    )
    stack.push_async_callback(registry.close)
    return registry


def _hosts(ground: Ground) -> dict[str, AdapterHost]:
    return {id: host for id, engine in ground.engines.running.items() if (host := engine.adapters)}


def _intake(ground: Ground) -> AdapterIntake:
    return AdapterIntake(
        ground.store,
        work_dir=ground.work_dir,
        max_bytes=ground.settings.adapters.max_bytes,
        foreign_bases=ground.catalog.foreign_names,
    )


def _start_upkeep(ground: Ground, periodic: PeriodicTasks, pins: Pins, sweeper: Sweeper) -> None:
    often = ground.settings.adapters.upkeep_seconds
    seldom = ground.settings.adapters.sweep_seconds
    periodic.start("pins", pins.follow, every_seconds=often)
    periodic.start("replica sweep", sweeper.sweep, every_seconds=often)
    periodic.start("store sweep", _artifact_sweep(ground).sweep, every_seconds=seldom)


def _artifact_sweep(ground: Ground) -> OrphanSweep:
    return OrphanSweep(
        ground.database.sessions,
        ground.store,
        StoreOwnership(ground.database.sessions, ground.store, ground.work_dir),
        ground.metrics,
        [ARTIFACT_OBJECTS],
        grace_seconds=ground.settings.adapters.orphan_grace_seconds,
    )


def _sync(ground: Ground, publisher: AdapterPublisher, withdrawals: Withdrawals) -> BucketSync:
    actions = BucketActions(
        ground.database.sessions,
        ground.store,
        _intake(ground),  # of its own, so that neither side takes the other's rooms
        publisher,
        withdrawals,
        max_bytes=ground.settings.adapters.max_bytes,
    )
    prefix = f"{ground.settings.sync.prefix}/"
    return BucketSync(ground.database, ground.store, actions, ground.engines.running, prefix=prefix)
