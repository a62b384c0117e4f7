"""Every model that the demo serves, made to stand in one place; `make models` runs this file."""

from pathlib import Path

from deploy.quickstart import minilm, piper_voice, smollm2, whisper
from deploy.quickstart.paths import MODELS


def prepare_all(root: Path) -> None:
    """Make all models stand under `root`; what stands already is left as it is.

    Takes about 25 s the first time. **Raises:** ModelMissing.
    """
    smollm2.prepare(root)
    minilm.prepare(root)
    whisper.prepare(root)
    piper_voice.prepare(root)


if __name__ == "__main__":
    prepare_all(MODELS)
