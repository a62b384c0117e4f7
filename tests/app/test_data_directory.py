"""One server a data directory."""

from pathlib import Path

import pytest

from app.data_directory import DataDirectoryInUse, exclusive


def test_a_second_server_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    second = exclusive(tmp_path / "data")

    with exclusive(tmp_path / "data"), pytest.raises(DataDirectoryInUse, match="LORA_API_DATA_DIR"):
        second.__enter__()


def test_a_directory_is_free_again_when_its_server_has_ended(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive(tmp_path / "data"):
            assert (tmp_path / "data").is_dir()
