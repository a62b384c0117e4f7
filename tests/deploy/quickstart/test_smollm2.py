"""The model is converted once, with all that an engine needs beside its weights."""

from pathlib import Path

from deploy.quickstart.smollm2 import NAME, prepare


def test_preparing_again_returns_the_same_files_untouched(smollm2: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in smollm2.iterdir()}

    assert prepare(smollm2.parent) == smollm2
    assert {file.name: file.stat().st_mtime_ns for file in smollm2.iterdir()} == before


def test_the_prepared_model_has_weights_tokenizer_and_chat_template(smollm2: Path) -> None:
    names = {file.name for file in smollm2.iterdir()}

    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names


def test_no_temporary_directory_is_left_beside_the_model(smollm2: Path) -> None:
    assert not list(smollm2.parent.glob(f".{NAME}-*"))
