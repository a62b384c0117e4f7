"""Where an artifact lies in the object store, and how it gets there and away.

Every registration stores a copy of its own under an id that is never used again, so that removing
one can never take what another needs. A listed config means a whole artifact: it is put last and
deleted first.
"""

from adapters_registry.store import ObjectStore
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, Artifact

ARTIFACT_FILES = (CONFIG_FILE, WEIGHTS_FILE)
"""All the files of an artifact, in the store and in a local directory."""

ARTIFACTS = "artifacts/"
"""Prefix of every artifact's keys."""


def artifact_key(stored_as: str, file: str) -> str:
    """Return the key of one file of an artifact."""
    return f"{ARTIFACTS}{stored_as}/{file}"


async def publish(store: ObjectStore, artifact: Artifact, stored_as: str) -> None:
    """Upload a validated artifact; repeating it is harmless. **Raises:** StoreUnavailable."""
    for file in (WEIGHTS_FILE, CONFIG_FILE):
        await store.put(artifact_key(stored_as, file), artifact.directory / file)


async def unpublish(store: ObjectStore, stored_as: str) -> None:
    """Delete an artifact; a missing one is no error. **Raises:** StoreUnavailable."""
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        await store.delete(artifact_key(stored_as, file))
