"""The speech service on scripted inference, with the product's own encoder."""

from typing import Any

from app.api.speech.service import SpeechService
from tests.app.inference.speech_stubs import SpeechRig
from tests.app.inference.stubs import BASE


class Rig(SpeechRig):
    """A speech service with everything round it scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.service = SpeechService(self.inference)


def speech_body(**fields: Any) -> dict[str, Any]:
    """Make a valid body, with some fields set or replaced."""
    return {"model": BASE, "input": "Hello.", "voice": "troy", **fields}
