"""The digest covers both files whole, and their border."""

import hashlib
from pathlib import Path

import pytest

from adapters_registry.digest import artifact_digest
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE


def digest_of(directory: Path, config: bytes, weights: bytes) -> str:
    (directory / CONFIG_FILE).write_bytes(config)
    (directory / WEIGHTS_FILE).write_bytes(weights)
    return artifact_digest(directory)


def test_digest_is_sha256_of_config_zero_byte_and_weights(tmp_path: Path) -> None:
    weights = bytes(range(256)) * 5000

    assert digest_of(tmp_path, b"{}", weights) == hashlib.sha256(b"{}\0" + weights).hexdigest()


@pytest.mark.parametrize(
    ("config", "weights"),
    [(b"{}", b"weightS"), (b"{ }", b"weights"), (b"{}w", b"eights"), (b"", b"{}weights")],
)
def test_any_other_content_has_another_digest(
    config: bytes, weights: bytes, tmp_path: Path
) -> None:
    plain = digest_of(tmp_path, b"{}", b"weights")

    assert digest_of(tmp_path, config, weights) != plain


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_bytes(b"{}")

    with pytest.raises(FileNotFoundError):
        artifact_digest(tmp_path)
