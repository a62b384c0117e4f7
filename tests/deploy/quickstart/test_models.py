"""All models of the demo come to stand under one directory."""

from pathlib import Path

from deploy.quickstart.models import prepare_all


def test_every_model_stands_after_one_call(
    smollm2: Path, minilm: Path, whisper_base: Path, piper_voice: Path
) -> None:
    root = smollm2.parent
    before = {entry.name: entry.stat().st_mtime_ns for entry in root.iterdir()}

    prepare_all(root)

    assert {entry.name: entry.stat().st_mtime_ns for entry in root.iterdir()} == before
    assert {model.name for model in (smollm2, minilm, whisper_base)} | {"piper"} <= before.keys()
