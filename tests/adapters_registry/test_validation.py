"""The canonical form: what an accepted adapter becomes, and what of it may never change."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from adapters_registry.digest import artifact_digest
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, AdapterConfig
from tests.adapters_registry.adapters import SHAPES, accept, lora_tensors, refusal, write_adapter


def config_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / CONFIG_FILE).read_bytes())


def test_plain_adapter_is_accepted_and_described(tmp_path: Path) -> None:
    artifact = accept(write_adapter(tmp_path))

    targets = ("down_proj", "q_proj", "v_proj")
    assert artifact.config == AdapterConfig(8, 16.0, targets, False)
    assert artifact.version.base_model == "tiny"
    assert artifact.directory == tmp_path
    assert artifact.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_config_is_replaced_by_one_canonical_line(tmp_path: Path) -> None:
    accept(write_adapter(tmp_path, config={"auto_mapping": {"x": "y"}, "revision": "main"}))

    assert (tmp_path / CONFIG_FILE).read_text() == (
        '{"base_model_name_or_path":"tiny","bias":"none","lora_alpha":16,"peft_type":"LORA",'
        '"r":8,"target_modules":["down_proj","q_proj","v_proj"],"task_type":"CAUSAL_LM",'
        '"use_rslora":false}'
    )


def test_digest_is_of_the_canonical_files(tmp_path: Path) -> None:
    artifact = accept(write_adapter(tmp_path))

    content = (tmp_path / CONFIG_FILE).read_bytes() + b"\0" + (tmp_path / WEIGHTS_FILE).read_bytes()
    assert artifact.version.digest == hashlib.sha256(content).hexdigest()
    assert artifact.version.digest == artifact_digest(tmp_path)


def test_same_weights_have_one_digest_however_the_config_was_written(tmp_path: Path) -> None:
    first = accept(write_adapter(tmp_path / "a", config={"lora_alpha": 16}))
    second = accept(write_adapter(tmp_path / "b", config={"lora_alpha": 16.0, "lora_dropout": 0.1}))

    assert first.version == second.version


def test_canonical_adapter_is_accepted_again_unchanged(tmp_path: Path) -> None:
    first = accept(write_adapter(tmp_path))

    assert accept(tmp_path) == first


def test_weights_stay_as_they_were_uploaded(tmp_path: Path) -> None:
    before = (write_adapter(tmp_path) / WEIGHTS_FILE).read_bytes()

    accept(tmp_path)

    assert (tmp_path / WEIGHTS_FILE).read_bytes() == before


def test_targets_come_from_the_tensors_and_not_from_the_config(tmp_path: Path) -> None:
    shapes = {name: SHAPES[name] for name in list(SHAPES)[:1]}
    directory = write_adapter(tmp_path, lora_tensors(shapes), config={"target_modules": ".*"})

    assert accept(directory).config.target_modules == ("q_proj",)


def test_rank_stabilised_scaling_is_kept(tmp_path: Path) -> None:
    artifact = accept(write_adapter(tmp_path, config={"use_rslora": True, "lora_alpha": 0.5}))

    assert artifact.config.use_rslora
    assert config_of(tmp_path)["lora_alpha"] == 0.5


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.removeprefix("base_model.model."),
        lambda name: name.replace(".weight", ".default.weight"),
    ],
    ids=["without PEFT's prefix", "with the adapter's name"],
)
def test_other_spellings_of_names_are_rewritten_and_values_kept(
    rename: Callable[[str], str], tmp_path: Path
) -> None:
    plain = lora_tensors(dtype=np.float16)
    directory = write_adapter(tmp_path, {rename(name): value for name, value in plain.items()})

    artifact = accept(directory)

    stored = load_file(directory / WEIGHTS_FILE)
    assert stored.keys() == plain.keys()
    assert all(np.array_equal(stored[name], plain[name]) for name in plain)
    assert artifact.version.digest == artifact_digest(directory)
    assert {path.name for path in directory.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}


@pytest.mark.parametrize(
    ("file", "code"), [(CONFIG_FILE, "config_invalid"), (WEIGHTS_FILE, "safetensors_invalid")]
)
def test_missing_file_is_refused(file: str, code: str, tmp_path: Path) -> None:
    (write_adapter(tmp_path) / file).unlink()

    error = refusal(tmp_path)

    assert (error.code, error.param) == (code, file)
