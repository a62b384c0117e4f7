"""The values that the registry's parts exchange; all immutable."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NewType

Digest = NewType("Digest", str)
"""64 lower-case hex digits: the SHA-256 that names one canonical artifact for ever."""

LinearShapes = Mapping[str, tuple[int, int]]
"""Base-model module name -> (in_features, out_features), for each layer that LoRA may target."""

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


class Tier(StrEnum):
    """Where a lease found the weights, nearest first."""

    ENGINE = "engine"
    DISK = "disk"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """One immutable content trained for one base model (a catalog id).

    `stored_as` says where the store has it, `artifacts/<stored_as>/`; None before it is stored. It
    is no part of what a version is: the store may hold the same content several times. Nor is
    `size_bytes`, of all its files, by which one that has no room is not even downloaded.
    """

    digest: Digest
    base_model: str
    stored_as: str | None = field(default=None, compare=False)
    size_bytes: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class LoadedAdapter:
    """A version the engine knows. `engine_id` is never used twice in one process."""

    version: AdapterVersion
    engine_id: int
    path: Path


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to use a loaded adapter until the `async with` block ends."""

    adapter: LoadedAdapter
    tier: Tier
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """All that is taken from an uploaded adapter_config.json."""

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    use_rslora: bool


@dataclass(frozen=True, slots=True)
class Artifact:
    """A validated adapter in canonical form, on local disk, ready to be stored."""

    version: AdapterVersion
    directory: Path
    config: AdapterConfig
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One listed object. `etag` is the store's own change marker, not a content hash."""

    key: str
    size_bytes: int
    etag: str
