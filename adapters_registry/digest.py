"""The SHA-256 that names an artifact: over its config, one zero byte, and its weights."""

import hashlib
from pathlib import Path

from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, Digest


def artifact_digest(directory: Path) -> Digest:
    """Hash a canonical artifact on local disk; blocking, in constant memory.

    JSON has no zero byte, so no two different pairs of files hash the same bytes.
    **Raises:** OSError where a file is missing or cannot be read.
    """
    hasher = hashlib.sha256()
    _update(hasher, directory / CONFIG_FILE)
    hasher.update(b"\0")
    _update(hasher, directory / WEIGHTS_FILE)
    return Digest(hasher.hexdigest())


def _update(hasher: "hashlib._Hash", path: Path) -> None:
    with path.open("rb") as file:
        hashlib.file_digest(file, lambda: hasher)
