"""What tests of sweeps share: a counter, and a sweep whose clock is where a test wants it."""

import time
from collections.abc import Sequence
from pathlib import Path

from adapters_registry.store import ObjectStore
from app.db.engine import Database
from app.storage.orphans import ObjectKind, OrphanSweep
from app.storage.ownership import StoreOwnership

GRACE = 3600.0


class Swept:
    """Remembers what it was told, one entry a thing."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def swept(self, kind: str, count: int) -> None:
        self.kinds += [kind] * count


def orphan_sweep(
    database: Database,
    store: ObjectStore,
    kinds: Sequence[ObjectKind],
    swept: Swept,
    work_dir: Path,
    *,
    later: float = 0.0,
) -> OrphanSweep:
    """Return a sweep whose clock is `later` seconds ahead."""
    return OrphanSweep(
        database.sessions,
        store,
        StoreOwnership(database.sessions, store, work_dir),
        swept,
        kinds,
        grace_seconds=GRACE,
        clock=lambda: time.time() + later,
    )
