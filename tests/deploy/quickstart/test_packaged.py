"""A packaged file is taken where its content is the known one, and refused by name elsewhere."""

import hashlib

import pytest

from deploy.quickstart import minilm, piper_voice, smollm2, whisper
from deploy.quickstart.packaged import ModelMissing, PackagedFile

NOTHING = hashlib.sha256(b"").hexdigest()
TYPED = "pytest/py.typed"


def test_a_file_with_the_known_content_is_found_where_it_is_installed() -> None:
    file = PackagedFile("pytest", TYPED, NOTHING).verified()

    assert file.parts[-2:] == ("pytest", "py.typed")
    assert file.read_bytes() == b""


def test_a_file_with_other_content_is_refused_by_name() -> None:
    with pytest.raises(ModelMissing, match=r"pytest/py\.typed of pytest is not the known file"):
        PackagedFile("pytest", TYPED, hashlib.sha256(b"other").hexdigest()).verified()


@pytest.mark.parametrize("package", ["no-such-package-anywhere", "pytest"])
def test_a_package_without_the_file_is_refused_by_name(package: str) -> None:
    with pytest.raises(ModelMissing, match=package):
        PackagedFile(package, "model/weights.gguf", NOTHING).verified()


@pytest.mark.parametrize(
    "file",
    [
        smollm2.WEIGHTS,
        *whisper.PARTS,
        whisper.CONFIG,
        whisper.TOKENIZER,
        *minilm.FILES.values(),
        *piper_voice.FILES.values(),
    ],
    ids=lambda file: file.path,
)
def test_every_file_of_the_demos_models_is_installed_as_it_was_looked_into(
    file: PackagedFile,
) -> None:
    assert file.verified().name == file.name
