"""The installer knows pip's words for a missing torch, and tells what pip is doing."""

import sys
from pathlib import Path

import pytest

from deploy.quickstart.install import TORCH_CPU_INDEX, install


@pytest.fixture
def output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Install a torch that exists nowhere, with every index switched off."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    lock = tmp_path / "lock.txt"
    lock.write_text(f"torch==0.0.0+nowhere --hash=sha256:{'0' * 64}\n")

    assert install([lock], tmp_path / "install.log") != 0
    return capsys.readouterr().out


def test_torch_that_pip_cannot_find_is_looked_for_at_pytorch(output: str) -> None:
    assert f"trying {TORCH_CPU_INDEX}" in output


def test_the_number_of_packages_and_the_place_are_told(output: str) -> None:
    assert f"Installing 1 pinned packages into {sys.prefix}" in output
