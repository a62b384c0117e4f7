"""The Piper voice is copied with the JSON that Piper looks for beside it."""

import json
from pathlib import Path

from deploy.quickstart.piper_voice import FILES, prepare


def test_the_prepared_voice_lies_beside_its_settings(tmp_path: Path) -> None:
    voice = prepare(tmp_path)

    assert voice == tmp_path / "piper" / "en_US-joe-medium.onnx"
    assert {file.name for file in voice.parent.iterdir()} == set(FILES)
    settings = json.loads(voice.with_name(f"{voice.name}.json").read_text())
    assert settings["audio"]["sample_rate"] == 22_050
