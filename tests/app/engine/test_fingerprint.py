"""What changes `system_fingerprint` and what does not."""

import re
import shutil
from pathlib import Path

import pytest

from app.engine.fingerprint import fingerprint

ARGUMENTS = {"dtype": "bfloat16", "max_loras": 4}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text('{"hidden_size": 8}')
    (directory / "model.safetensors").write_bytes(b"12345678")
    return directory


def _of(directory: Path, version: str = "0.32.0", **arguments: object) -> str:
    return fingerprint(str(directory), None, version, {**ARGUMENTS, **arguments})


def test_it_is_fp_and_ten_hex_digits(model: Path):
    assert re.fullmatch(r"fp_[0-9a-f]{10}", _of(model))


def test_the_same_model_elsewhere_has_the_same(model: Path, tmp_path: Path):
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    assert _of(copy, model=str(copy)) == _of(model, model=str(model))


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", b"{}"), ("model.safetensors", b"123"), ("more.safetensors", b"1")],
)
def test_other_files_give_another(model: Path, name: str, content: bytes):
    before = _of(model)
    (model / name).write_bytes(content)
    assert _of(model) != before


def test_another_engine_version_or_argument_gives_another(model: Path):
    variants = {_of(model), _of(model, version="0.33.0"), _of(model, dtype="float32")}
    assert len(variants) == 3


def test_a_hub_model_is_known_by_id_and_revision():
    pinned = [fingerprint("org/model", revision, "0.32.0", {}) for revision in ("a", "b", "b")]
    assert pinned[0] != pinned[1] == pinned[2]
