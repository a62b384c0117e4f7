"""The whole look, in the order in which parts are mended."""

from collections.abc import AsyncIterator

from app.doctor import configuration, machine, services
from app.doctor.findings import Finding
from app.settings import Settings


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found, part by part; takes seconds, or a minute where nothing answers.

    Writes one object to the store, one counter, and a file to the data directory, and removes them.
    """
    for finding in machine.of_engine():
        yield finding
    catalog, finding = configuration.read_catalog(settings)
    yield finding
    if catalog is not None:
        for finding in configuration.of_sources(catalog):
            yield finding
        async for finding in services.of_hub(catalog):
            yield finding
    for finding in (*configuration.of_plans(settings), *configuration.of_sharing(settings)):
        yield finding
    for finding in machine.of_disk(settings):
        yield finding
    for look in (
        services.of_database,
        services.of_store,
        services.of_counters,
        services.of_pools,
    ):
        async for finding in look(settings):
            yield finding
