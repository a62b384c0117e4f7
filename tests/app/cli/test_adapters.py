"""What `lora-api adapters` does before it talks to a server; the rest is end to end."""

import io
import zipfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from app.cli import main
from app.cli.adapters import zip_adapter


def test_only_the_two_files_are_packed(tmp_path: Path) -> None:
    for name in ("adapter_model.safetensors", "adapter_config.json", "README.md", "optimizer.pt"):
        (tmp_path / name).write_text(name)
    archive = io.BytesIO()

    zip_adapter(tmp_path, archive)

    with zipfile.ZipFile(archive) as packed:
        assert packed.namelist() == ["adapter_model.safetensors", "adapter_config.json"]


def test_a_directory_without_an_adapter_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match=r"adapter_model\.safetensors"):
        zip_adapter(tmp_path, io.BytesIO())


def test_a_server_that_is_not_there_is_said_so() -> None:
    arguments = ["adapters", "list", "--api-key", "gsk_x", "--base-url", "http://127.0.0.1:9"]

    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 1
    assert "127.0.0.1:9" in result.output
