"""Opens the engines of a replica, and what brings them back when they die."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from adapters_registry.registry import AdapterRegistry
from app.catalog import Catalog
from app.drain import Drain
from app.engine.factory import Engines, start_engine, start_engines
from app.engine.supervised import SupervisedEngine
from app.engine.supervision import Duties, RestartPolicy, Supervisor
from app.ground import Ground
from app.settings import EngineSettings


async def open_engines(
    catalog: Catalog, stack: AsyncExitStack
) -> tuple[Engines, Sequence[SupervisedEngine]]:
    """Start every model of the catalog; `stack` ends them. **Raises:** EngineStartError.

    The engines that run are the supervised ones, which the others hold for good.
    """
    engines = await start_engines(catalog)
    specs = {spec.id: spec for spec in catalog.models}
    supervised = {
        id: SupervisedEngine(id, engine, partial(start_engine, specs[id], engines.metrics))
        for id, engine in engines.running.items()
    }
    engines = replace(engines, running=supervised)
    stack.push_async_callback(engines.close)
    return engines, list(supervised.values())


def start_supervision(
    ground: Ground,
    engines: Sequence[SupervisedEngine],
    adapters: AdapterRegistry,
    drain: Drain,
    stack: AsyncExitStack,
) -> None:
    """Begin to watch the engines; `stack` ends it. Where one is lost, the process is drained."""
    with_adapters = {engine.id for engine in engines if engine.adapters is not None}

    async def forget(model: str) -> None:
        if model in with_adapters:
            await adapters.forget(model)

    supervisor = Supervisor(
        engines,
        _policy(ground.settings.engines),
        Duties(forget, drain.ask_for, lambda: drain.deadline is not None, ground.metrics),
        optional={spec.id for spec in ground.catalog.models if spec.optional},
    )
    for model in ground.engines.absent:
        ground.metrics.engine_down(model)
    stack.push_async_callback(supervisor.close)
    supervisor.start()


def _policy(settings: EngineSettings) -> RestartPolicy:
    return RestartPolicy(
        pause_seconds=settings.restart_pause_seconds,
        longest_pause_seconds=settings.restart_longest_pause_seconds,
        deaths=settings.deaths_in_a_row,
        stable_seconds=settings.stable_seconds,
    )
