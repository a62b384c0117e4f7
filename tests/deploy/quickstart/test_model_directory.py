"""A model's directory appears whole or not at all, whatever happens to those who fill it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.quickstart.model_directory import built
from deploy.quickstart.paths import ROOT

KILLED_HALF_WAY = """
import os, signal, sys
from pathlib import Path
from deploy.quickstart.model_directory import built

def fill(directory):
    (directory / "first").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

built(Path(sys.argv[1]), "Filling", fill)
"""


def _fill(directory: Path) -> None:
    (directory / "first").write_text("1")
    (directory / "second").write_text("2")


def _names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_a_directory_is_filled_and_its_parents_made(tmp_path: Path) -> None:
    directory = built(tmp_path / "models" / "tiny", "Filling", _fill)

    assert directory == tmp_path / "models" / "tiny"
    assert _names(directory) == ["first", "second"]
    assert _names(directory.parent) == ["tiny"]


def test_a_directory_that_stands_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()

    assert built(tmp_path / "tiny", "Filling", _fill) == tmp_path / "tiny"
    assert _names(tmp_path / "tiny") == []


def test_a_filling_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        _fill(directory)
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        built(tmp_path / "tiny", "Filling", fail)
    assert _names(tmp_path) == []


def test_after_a_kill_half_way_the_next_call_makes_the_directory_whole(tmp_path: Path) -> None:
    destination = tmp_path / "tiny"
    command = [sys.executable, "-c", KILLED_HALF_WAY, str(destination)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True)

    assert killed.returncode == -9
    assert not destination.exists()
    assert _names(built(destination, "Filling", _fill)) == ["first", "second"]


def test_whoever_comes_second_gets_what_the_first_made(tmp_path: Path) -> None:
    def slower(directory: Path) -> None:
        (directory / "late").write_text("late")
        built(tmp_path / "tiny", "Filling", _fill)

    assert _names(built(tmp_path / "tiny", "Filling", slower)) == ["first", "second"]
    assert _names(tmp_path) == ["tiny"]


def test_a_destination_that_cannot_be_taken_is_told(tmp_path: Path) -> None:
    def block(directory: Path) -> None:
        _fill(directory)
        os.symlink("nowhere", tmp_path / "tiny")

    with pytest.raises(OSError, match="Not a directory"):
        built(tmp_path / "tiny", "Filling", block)
