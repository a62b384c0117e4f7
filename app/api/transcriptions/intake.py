"""Audio on its way in: from an upload or a URL to samples, in Groq's words where it is refused.

A file's type is judged by its name, as Groq does, and then by its bytes. Memory is bounded for all
requests together: what is fetched at once, and the seconds of decoded audio that are held.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from math import ceil
from pathlib import Path
from typing import Protocol

from app.audio.errors import AudioTooLong, AudioTooShort, AudioUnreadable, DecoderFailed
from app.audio.types import SAMPLE_RATE, Audio
from app.errors import ApiError, invalid_request, unavailable
from app.fetch.content import Fetched
from app.fetch.data_urls import is_data_url
from app.fetch.targets import MAX_CHARACTERS
from app.settings import LimitSettings
from app.shares import SHARE, Shares
from app.uploads import UploadedFile

TYPES = ("flac", "mp3", "mp4", "mpeg", "mpga", "m4a", "ogg", "opus", "wav", "webm")
ACCEPTED = ("audio/*", "video/*", "application/octet-stream", "application/ogg", "application/mp4")
"""Media types that a URL's content may claim to be of; what it is, its bytes tell."""

FETCHES = 8
"""At once; an organisation has a quarter of them. Each holds a whole file in memory."""
FETCH_WAIT_SECONDS = 15.0

HELD = 4
"""All requests hold so many times the longest audio; an organisation leaves room for one more."""


class Fetches(Protocol):
    """Gets what a URL names (app.fetch.fetcher)."""

    async def fetch(
        self, url: str, *, org_id: str, max_bytes: int, accept: Sequence[str], param: str | None
    ) -> Fetched: ...


class Decodes(Protocol):
    """Makes samples of a file (app.audio.decoding)."""

    async def decode(self, path: Path, *, org_id: str) -> Audio: ...


def check_filename(filename: str) -> None:
    """Refuse a file whose name has no ending of audio. **Raises:** ApiError 400."""
    if Path(filename).suffix.removeprefix(".").lower() not in TYPES:
        message = f"file must be one of the following types: [{' '.join(TYPES)}]"
        raise invalid_request(message, param="file")


class AudioIntake:
    """Takes in the audio of requests."""

    def __init__(self, fetcher: Fetches, decoder: Decodes, limits: LimitSettings) -> None:
        self._fetcher = fetcher
        self._decoder = decoder
        self._limits = limits
        self._fetches = Shares(
            FETCHES,
            FETCHES // SHARE,
            wait_seconds=FETCH_WAIT_SECONDS,
            refusal="Too many audio files are being fetched at present.",
        )
        self._seconds = Shares(
            HELD * limits.audio_seconds,
            (HELD - 1) * limits.audio_seconds,
            # Who waited would hold what there is no room for.
            wait_seconds=0,
            refusal="Too much audio is being written down at present.",
        )

    @asynccontextmanager
    async def samples(self, upload: UploadedFile, org_id: str) -> AsyncIterator[Audio]:
        """Hold the samples of a file, or of what the URL in its place names.

        The latter is written over the upload. **Raises:** ApiError 400, 413, 503.
        """
        size = upload.size if upload.part == "file" else await self._fetched(upload, org_id)
        if size == 0:
            raise invalid_request("file is empty", param=upload.part)
        with _in_words(upload.part):
            audio = await self._decoder.decode(upload.path, org_id=org_id)
        async with self._seconds.hold(org_id, ceil(len(audio) / SAMPLE_RATE)):
            yield audio

    async def _fetched(self, upload: UploadedFile, org_id: str) -> int:
        """Write the URL's content over the URL; return its bytes."""
        async with self._fetches.hold(org_id):
            url = await asyncio.to_thread(_url, upload)
            limits = self._limits
            is_direct = is_data_url(url)
            fetched = await self._fetcher.fetch(
                url,
                org_id=org_id,
                max_bytes=limits.audio_bytes if is_direct else limits.audio_url_bytes,
                accept=ACCEPTED,
                param=upload.part,
            )
            await asyncio.to_thread(_overwrite, upload.path, fetched.content)
            return len(fetched.content)


def _url(upload: UploadedFile) -> str:
    content = upload.path.read_bytes()
    try:
        url = content.decode("ascii")
    except UnicodeDecodeError:
        raise invalid_request("Invalid URL: it must be ASCII.", param=upload.part) from None
    if len(url) > MAX_CHARACTERS and not is_data_url(url):
        raise invalid_request("Invalid URL: it is too long.", param=upload.part)
    return url


def _overwrite(path: Path, content: bytes) -> None:
    # Never made anew: a thread may come late, after the upload was cancelled and removed.
    with path.open("r+b") as file:
        file.truncate()
        file.write(content)


@contextmanager
def _in_words(part: str) -> Iterator[None]:
    try:
        yield
    except AudioUnreadable as error:
        message = "could not process file - is it a valid media file?"
        raise invalid_request(message, param=part, code="invalid_media_file") from error
    except AudioTooShort as error:
        raise _length("short. Minimum", error.limit_seconds, part) from error
    except AudioTooLong as error:
        raise _length("long. Maximum", error.limit_seconds, part) from error
    except DecoderFailed as error:
        raise unavailable() from error


def _length(problem: str, limit_seconds: float, part: str) -> ApiError:
    message = f"Audio file is too {problem} audio length is {limit_seconds:g} seconds."
    return invalid_request(message, param=part)
