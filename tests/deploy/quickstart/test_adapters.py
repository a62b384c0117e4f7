"""A trained adapter has exactly the form that is uploaded, and is trained only once."""

import json
from pathlib import Path
from zipfile import ZipFile

from safetensors import safe_open

from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE
from deploy.quickstart.adapters import trained
from deploy.quickstart.styles import PIRATE


def test_the_zip_holds_the_two_files_and_nothing_else(pirate_zip: Path) -> None:
    with ZipFile(pirate_zip) as archive:
        assert sorted(archive.namelist()) == sorted([WEIGHTS_FILE, CONFIG_FILE])


def test_all_weights_are_float16(pirate_adapter: Path) -> None:
    with safe_open(pirate_adapter / WEIGHTS_FILE, framework="numpy") as weights:
        names = weights.keys()
        kinds = {weights.get_slice(name).get_dtype() for name in names}

    assert kinds == {"F16"}


def test_the_config_states_a_rank_that_groq_takes(pirate_adapter: Path) -> None:
    config = json.loads((pirate_adapter / CONFIG_FILE).read_text())

    assert config["r"] in {8, 16, 32, 64}
    assert config["lora_alpha"] > 0


def test_asking_again_does_not_train_again(smollm2: Path, pirate_adapter: Path) -> None:
    before = (pirate_adapter / WEIGHTS_FILE).stat().st_mtime_ns

    assert trained(PIRATE, smollm2, pirate_adapter.parent) == pirate_adapter
    assert (pirate_adapter / WEIGHTS_FILE).stat().st_mtime_ns == before
