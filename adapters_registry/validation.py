"""From an uploaded pair of files to a canonical artifact, or to the first rule they break.

Nothing of the uploaded configuration survives but rank, alpha and the rank-stabilised switch; the
targets are read from the tensors. The weights' bytes are never changed; only their header is
written anew where it names the tensors in a way that the engine does not read.
"""

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from adapters_registry.adapter_config import canonical_config, read_config
from adapters_registry.digest import artifact_digest
from adapters_registry.errors import InvalidAdapter
from adapters_registry.lora_tensors import LoraMatrix, check_tensors, check_values
from adapters_registry.safetensors_header import TensorInfo, read_header
from adapters_registry.types import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterConfig,
    AdapterVersion,
    Artifact,
    LinearShapes,
)


def canonicalise(
    directory: Path,
    *,
    base_model: str,
    shapes: LinearShapes,
    ranks: Collection[int],
    foreign_bases: Collection[str] = (),
) -> Artifact:
    """Check both files in `directory`, which is the caller's own, and make them canonical.

    Blocking: reads the weights twice. After an error the directory is of no further use.
    `foreign_bases` are names of other models (ids, sources, hub names): an adapter that says it was
    trained on one of them is refused. Any other name is accepted, as people train on local paths
    and on quantised copies.

    **Raises:** InvalidAdapter, with the code of the first rule that is broken.
    """
    uploaded = read_config(
        directory / CONFIG_FILE, base_model=base_model, foreign_bases=foreign_bases, ranks=ranks
    )
    weights = directory / WEIGHTS_FILE
    if not weights.is_file():
        message = f"{WEIGHTS_FILE} is missing; save the weights as safetensors under this name."
        raise InvalidAdapter("safetensors_invalid", message, param=WEIGHTS_FILE)
    header = read_header(weights)
    matrices = check_tensors(header, shapes=shapes, rank=uploaded.rank)
    check_values(weights, header, matrices, scaling=uploaded.scaling)
    if any(matrix.canonical_name != name for name, matrix in matrices.items()):
        _rename(weights, header, matrices)
    targets = sorted({matrix.module.rpartition(".")[2] for matrix in matrices.values()})
    config = AdapterConfig(
        uploaded.rank, float(uploaded.alpha), tuple(targets), uploaded.use_rslora
    )
    _replace(directory / CONFIG_FILE, canonical_config(config, base_model))
    version = AdapterVersion(artifact_digest(directory), base_model)
    size = sum((directory / name).stat().st_size for name in (CONFIG_FILE, WEIGHTS_FILE))
    return Artifact(version, directory, config, size)


def _rename(
    weights: Path, header: Mapping[str, TensorInfo], matrices: Mapping[str, LoraMatrix]
) -> None:
    """Write the header with canonical names; the data after it is copied as it is."""
    first = min(info.start for info in header.values())
    entries = {
        matrices[name].canonical_name: {
            "dtype": info.dtype,
            "shape": info.shape,
            "data_offsets": (info.start - first, info.end - first),
        }
        for name, info in header.items()
    }
    raw = json.dumps(entries, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)  # readers expect the data to be aligned
    temporary = weights.with_name(f"{WEIGHTS_FILE}.new")
    with weights.open("rb") as source, temporary.open("xb") as target:
        target.write(len(raw).to_bytes(8, "little") + raw)
        source.seek(first)
        shutil.copyfileobj(source, target, 1 << 20)
    temporary.replace(weights)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)
