"""The model is converted once, from a package's file that metadata names."""

from pathlib import Path

import pytest

from deploy.quickstart.smollm2 import NAME, ModelMissing, find_gguf, prepare


def test_preparing_again_returns_the_same_files_untouched(smollm2: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in smollm2.iterdir()}

    assert prepare(smollm2.parent) == smollm2
    assert {file.name: file.stat().st_mtime_ns for file in smollm2.iterdir()} == before


def test_a_directory_that_stands_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()

    assert prepare(tmp_path) == tmp_path / NAME
    assert list((tmp_path / NAME).iterdir()) == []


def test_the_prepared_model_has_weights_tokenizer_and_chat_template(smollm2: Path) -> None:
    names = {file.name for file in smollm2.iterdir()}

    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names


def test_no_temporary_directory_is_left_beside_the_model(smollm2: Path) -> None:
    assert not list(smollm2.parent.glob(f".{NAME}-*"))


@pytest.mark.parametrize("package", ["no-such-package-anywhere", "pytest"])
def test_a_package_without_weights_is_refused_by_name(package: str) -> None:
    with pytest.raises(ModelMissing, match=package):
        find_gguf(package)
