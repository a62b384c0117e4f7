"""The pepper: explicit, kept, or made once."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from pydantic import SecretStr

from app.auth.errors import SecretUnusable
from app.auth.secret import load_secret


def test_an_explicit_secret_is_used_and_nothing_is_written(tmp_path: Path) -> None:
    assert load_secret(SecretStr("s" * 32), tmp_path) == b"s" * 32
    assert list(tmp_path.iterdir()) == []


def test_a_made_secret_is_kept(tmp_path: Path) -> None:
    first = load_secret(None, tmp_path / "new")
    assert load_secret(None, tmp_path / "new") == first
    assert len(first) >= 32


def test_a_made_secret_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    load_secret(None, tmp_path)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_starts_at_the_same_moment_agree_on_one_secret(tmp_path: Path) -> None:
    barrier = Barrier(8)

    def start(_: int) -> bytes:
        barrier.wait(timeout=10)
        return load_secret(None, tmp_path)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(start, range(8)))) == 1


def test_a_truncated_secret_is_refused_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    with pytest.raises(SecretUnusable) as caught:
        load_secret(None, tmp_path)
    assert "hunter2" not in str(caught.value)


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(SecretUnusable):
        load_secret(None, tmp_path / "data")
