"""LoRA adapters as immutable, content-addressed artifacts: checked, stored, cached and leased.

The names below are the public surface, with `testing` for tests of what is built on it, and the
stores, which are imported from `directory` and `s3` so that only their users need boto3.
"""

from adapters_registry.artifacts import ARTIFACT_FILES, artifact_key, publish, unpublish
from adapters_registry.cache import DiskCache, Pin
from adapters_registry.digest import artifact_digest
from adapters_registry.errors import (
    AdapterCapacityExceeded,
    AdapterLoadFailed,
    EngineReplaced,
    InvalidAdapter,
    ObjectCorrupt,
    ObjectNotFound,
    RegistryError,
    StoreError,
    StoreUnavailable,
)
from adapters_registry.host import AdapterHost
from adapters_registry.registry import AdapterRegistry, HostStats, RegistryStats
from adapters_registry.residency import Residents
from adapters_registry.store import ObjectStore
from adapters_registry.types import (
    AdapterConfig,
    AdapterVersion,
    Artifact,
    Digest,
    Lease,
    LinearShapes,
    LoadedAdapter,
    ObjectInfo,
    Tier,
)

__all__ = [
    "ARTIFACT_FILES",
    "AdapterCapacityExceeded",
    "AdapterConfig",
    "AdapterHost",
    "AdapterLoadFailed",
    "AdapterRegistry",
    "AdapterVersion",
    "Artifact",
    "Digest",
    "DiskCache",
    "EngineReplaced",
    "HostStats",
    "InvalidAdapter",
    "Lease",
    "LinearShapes",
    "LoadedAdapter",
    "ObjectCorrupt",
    "ObjectInfo",
    "ObjectNotFound",
    "ObjectStore",
    "Pin",
    "RegistryError",
    "RegistryStats",
    "Residents",
    "StoreError",
    "StoreUnavailable",
    "Tier",
    "artifact_digest",
    "artifact_key",
    "publish",
    "unpublish",
]
