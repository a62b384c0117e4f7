"""What the parts of the application stand on, once it is open."""

from dataclasses import dataclass
from pathlib import Path

from adapters_registry.store import ObjectStore
from app.catalog import Catalog
from app.db.engine import Database
from app.engine.factory import Engines
from app.observability.metrics import Metrics
from app.pools.directory import PoolDirectory
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Ground:
    """Configuration, and what is open for all: `pepper` is the secret of hashes and salts."""

    settings: Settings
    catalog: Catalog
    metrics: Metrics
    pepper: bytes
    work_dir: Path
    database: Database
    store: ObjectStore
    engines: Engines

    @property
    def pools(self) -> PoolDirectory:
        """The other pools of this deployment."""
        return PoolDirectory.of(self.settings.pools)
