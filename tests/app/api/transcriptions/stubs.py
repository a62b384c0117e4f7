"""The transcriptions service on scripted inference, with a decoder that reads numbers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from app.api.transcriptions.intake import AudioIntake, Fetches
from app.api.transcriptions.service import TranscriptionsService
from app.audio.types import Audio
from app.fetch.content import Fetched
from app.settings import LimitSettings
from tests.app.inference.transcription_stubs import TranscriptionRig, recording, silence

LIMITS = LimitSettings(audio_bytes=100_000, audio_url_bytes=200_000, audio_seconds=100)


class NumberDecoder:
    """Takes a file of digits for a recording of as many bursts, and `s` for a second of silence.

    `errors` are raised in turn.
    """

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.decoded: list[tuple[bytes, str]] = []
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()

    async def decode(self, path: Path, *, org_id: str) -> Audio:
        content = await asyncio.to_thread(path.read_bytes)
        self.decoded.append((content, org_id))
        if self.gate is not None:
            self.waiting.set()
            await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        if content.strip(b"s"):
            return recording(*(int(digit) for digit in content.decode()))
        return silence(len(content))


class StubFetcher:
    """Has what a test put at a URL; remembers how it was asked."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, int]] = []

    async def fetch(
        self, url: str, *, org_id: str, max_bytes: int, accept: Sequence[str], param: str | None
    ) -> Fetched:
        self.asked.append((url, org_id, max_bytes))
        return Fetched(self.contents[url], "audio/wav")


class Rig(TranscriptionRig):
    """A transcriptions service with everything round it scripted."""

    def __init__(self, directory: Path, fetcher: Fetches | None = None) -> None:
        super().__init__()
        self.directory = directory
        self.decoder = NumberDecoder()
        self.fetcher = StubFetcher()
        self.intake = AudioIntake(fetcher or self.fetcher, self.decoder, LIMITS)
        self.service = TranscriptionsService(self.inference, self.intake, directory, LIMITS)

    def left(self) -> list[str]:
        """Return what lies in the directory of uploads."""
        return [path.name for path in self.directory.iterdir()]
