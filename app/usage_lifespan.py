"""Opens metering: the process's ledger, and its way to the database in the background."""

from contextlib import AsyncExitStack

from app.db.engine import Database
from app.observability.metrics import Metrics
from app.periodic import PeriodicTasks
from app.settings import UsageSettings
from app.usage.recorder import UsageRecorder


def open_usage(
    database: Database, settings: UsageSettings, metrics: Metrics, stack: AsyncExitStack
) -> UsageRecorder:
    """Start it; `stack` brings what is left to the database.

    To be opened before, and so closed after, whatever records.
    """
    recorder = UsageRecorder(database.sessions, metrics)
    stack.push_async_callback(recorder.close)
    periodic = PeriodicTasks(metrics)
    stack.push_async_callback(periodic.close)
    periodic.start("usage", recorder.flush, every_seconds=settings.flush_seconds)
    return recorder
