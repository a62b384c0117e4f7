"""The short hash that clients see as `system_fingerprint`: changes when answers may change."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WEIGHT_SUFFIXES = frozenset({".safetensors", ".bin", ".gguf", ".pt"})


def fingerprint(
    source: str, revision: str | None, engine_version: str, arguments: Mapping[str, Any]
) -> str:
    """Return `fp_` and 10 hex digits over the model's identity, engine version and arguments.

    A local directory is known by its config.json and by the names and sizes of its weight files;
    a hub model by its id and revision. Where a directory lies does not matter.
    """
    identity = {
        "source": _directory_identity(Path(source)) if Path(source).is_dir() else source,
        "revision": revision,
        "engine": engine_version,
        "arguments": {key: value for key, value in arguments.items() if key != "model"},
    }
    text = json.dumps(identity, sort_keys=True, default=str)
    return f"fp_{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _directory_identity(directory: Path) -> dict[str, Any]:
    config = directory / "config.json"
    weights = (path for path in directory.iterdir() if path.suffix in WEIGHT_SUFFIXES)
    return {
        "config": hashlib.sha256(config.read_bytes()).hexdigest() if config.is_file() else None,
        "weights": sorted((path.name, path.stat().st_size) for path in weights),
    }
