"""Turns a CTranslate2 Whisper model into a Hugging Face model directory, without torch.

What the directory holds is the same to the bit: CTranslate2's float16 arrays under other names.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from deploy.quickstart.ctranslate2_file import read
from deploy.quickstart.whisper_files import (
    generation_config,
    model_config,
    preprocessor_config,
    tokenizer_config,
    with_timestamps,
)
from deploy.quickstart.whisper_weights import renamed


def convert(parts: list[Path], kept: Path, tokenizer: Path, destination: Path) -> None:
    """Write a model directory from the parts of `model.bin`, its config and its tokenizer.

    **Raises:** NotReadable, before anything is written, where the parts are not such a model.
    """
    model = read(b"".join(part.read_bytes() for part in parts))
    weights = renamed(model)
    tokens = json.loads(tokenizer.read_text())
    config = model_config(model.arrays, tokens)
    generation = generation_config(
        json.loads(kept.read_text()), tokens, config["max_target_positions"]
    )
    save_file(weights, destination / "model.safetensors", metadata={"format": "pt"})
    files = {
        "config.json": config,
        "generation_config.json": generation,
        "preprocessor_config.json": preprocessor_config(config["num_mel_bins"]),
        "tokenizer.json": with_timestamps(tokens),
        "tokenizer_config.json": tokenizer_config(tokens),
    }
    for name, content in files.items():
        _write(destination / name, content)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n")
