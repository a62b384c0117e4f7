"""Where an artifact lies in the object store, and how it gets there and away.

A listed config means a whole artifact: it is put last and deleted first.
"""

from adapters_registry.store import ObjectStore
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, Artifact, Digest

ARTIFACT_FILES = (CONFIG_FILE, WEIGHTS_FILE)
"""All the files of an artifact, in the store and in a local directory."""


def artifact_key(digest: Digest, file: str) -> str:
    """Return the key of one file of an artifact."""
    return f"artifacts/{digest}/{file}"


async def publish(store: ObjectStore, artifact: Artifact) -> None:
    """Upload a validated artifact; repeating it is harmless, as content never changes.

    **Raises:** StoreUnavailable.
    """
    for file in (WEIGHTS_FILE, CONFIG_FILE):
        key = artifact_key(artifact.version.digest, file)
        await store.put(key, artifact.directory / file)


async def unpublish(store: ObjectStore, digest: Digest) -> None:
    """Delete an artifact; a missing one is no error. **Raises:** StoreUnavailable."""
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        await store.delete(artifact_key(digest, file))
