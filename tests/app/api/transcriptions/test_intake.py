"""Audio on its way in: files, URLs, refusals in Groq's words, and what is held at once."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from app.api.transcriptions.intake import TYPES, AudioIntake, check_filename
from app.audio.decoding import AudioDecoder, DecodeLimits
from app.audio.errors import AudioTooLong, AudioTooShort, AudioUnreadable, DecoderFailed
from app.errors import ApiError
from app.fetch.targets import MAX_CHARACTERS
from app.uploads import UploadedFile
from tests.app.api.transcriptions.stubs import LIMITS, Rig
from tests.app.audio.sounds import encoded, tone
from tests.app.fetch.world import SITE, World, answer, redirect, world
from tests.app.inference.stubs import ORG

URL = f"https://{SITE}/speech.wav"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest_asyncio.fixture
async def internet() -> AsyncIterator[World]:
    async with world() as made:
        yield made


def stored(rig: Rig, content: bytes, part: str = "file") -> UploadedFile:
    path = rig.directory / "upload"
    path.write_bytes(content)
    return UploadedFile(path, "a.wav", len(content), "", {}, part=part)


async def seconds(rig: Rig, upload: UploadedFile, org_id: str = ORG) -> float:
    async with rig.intake.samples(upload, org_id) as audio:
        return len(audio) / 16_000


async def refusal(rig: Rig, upload: UploadedFile) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await seconds(rig, upload)
    return caught.value


def test_a_file_s_name_must_end_as_audio_does() -> None:
    for ending in TYPES:
        check_filename(f"a.b.{ending}")
        check_filename(f"A.{ending.upper()}")


@pytest.mark.parametrize(
    "name", ["a", "mp3", ".mp3", "a.mp3.txt", "a.aac", "a.mp3 ", "a.", "ä.м4a"]
)
def test_any_other_is_refused_in_groqs_words(name: str) -> None:
    with pytest.raises(ApiError) as caught:
        check_filename(name)
    assert caught.value.status == 400
    assert caught.value.message == (
        "file must be one of the following types: [flac mp3 mp4 mpeg mpga m4a ogg opus wav webm]"
    )


async def test_a_file_is_decoded_for_its_organisation(rig: Rig) -> None:
    assert await seconds(rig, stored(rig, b"12")) == 8.0
    assert rig.decoder.decoded == [(b"12", ORG)]
    assert rig.fetcher.asked == []


async def test_a_url_s_content_takes_its_place(rig: Rig) -> None:
    rig.fetcher.contents[URL] = b"123"
    assert await seconds(rig, stored(rig, URL.encode(), "url")) == 12.0
    assert rig.decoder.decoded == [(b"123", ORG)]
    assert rig.fetcher.asked == [(URL, ORG, LIMITS.audio_url_bytes)]


async def test_a_data_url_is_bounded_like_an_upload(rig: Rig) -> None:
    url = "data:audio/wav;base64,MTI="
    rig.fetcher.contents[url] = b"12"
    await seconds(rig, stored(rig, url.encode(), "url"))
    assert rig.fetcher.asked == [(url, ORG, LIMITS.audio_bytes)]


@pytest.mark.parametrize("part", ["file", "url"])
async def test_nothing_is_an_empty_file(rig: Rig, part: str) -> None:
    rig.fetcher.contents[URL] = b""
    error = await refusal(rig, stored(rig, b"" if part == "file" else URL.encode(), part))
    assert (error.status, error.message, error.param) == (400, "file is empty", part)
    assert rig.decoder.decoded == []


@pytest.mark.parametrize("part", ["file", "url"])
@pytest.mark.parametrize(
    ("raised", "status", "code", "message"),
    [
        (
            AudioUnreadable(),
            400,
            "invalid_media_file",
            "could not process file - is it a valid media file?",
        ),
        (
            AudioTooShort(0.01),
            400,
            None,
            "Audio file is too short. Minimum audio length is 0.01 seconds.",
        ),
        (
            AudioTooLong(7200),
            400,
            None,
            "Audio file is too long. Maximum audio length is 7200 seconds.",
        ),
        (DecoderFailed(), 503, None, "The service is temporarily unavailable."),
    ],
)
async def test_what_cannot_be_decoded_is_refused_in_groqs_words(
    rig: Rig, part: str, raised: Exception, status: int, code: str | None, message: str
) -> None:
    rig.decoder.errors = [raised]
    rig.fetcher.contents[URL] = b"1"
    error = await refusal(rig, stored(rig, b"1" if part == "file" else URL.encode(), part))
    assert (error.status, error.code, error.message) == (status, code, message)
    assert error.param == (part if status == 400 else None)


@pytest.mark.parametrize("url", ["é", "https://x.example/" + "y" * MAX_CHARACTERS])
async def test_what_is_no_url_by_its_bytes_is_not_fetched(rig: Rig, url: str) -> None:
    error = await refusal(rig, stored(rig, url.encode(), "url"))
    assert (error.status, error.param) == (400, "url")
    assert len(error.message) < 100
    assert rig.fetcher.asked == []


def _real(rig: Rig, internet: World) -> None:
    fetcher = internet.fetcher(schemes=("https", "http"))
    decoder = AudioDecoder(DecodeLimits(audio_seconds=LIMITS.audio_seconds), concurrent=1)
    rig.intake = AudioIntake(fetcher, decoder, LIMITS)


WAV = encoded(tone(440, 1.5, 16_000), "wav", "pcm_s16le", 16_000)


@pytest.mark.parametrize("media_type", ["audio/wav", "video/mp4", "application/octet-stream"])
async def test_a_url_is_fetched_and_what_it_is_is_told_by_its_bytes(
    rig: Rig, internet: World, media_type: str
) -> None:
    _real(rig, internet)
    internet.site.answers["/x"] = answer(WAV, content_type=media_type)
    upload = stored(rig, f"http://{SITE}/x".encode(), "url")
    assert await seconds(rig, upload) == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
async def test_a_data_url_of_either_alphabet_is_decoded(rig: Rig, internet: World, encode) -> None:  # type: ignore[no-untyped-def]
    _real(rig, internet)
    upload = stored(rig, b"data:audio/wav;base64," + encode(WAV), "url")
    assert await seconds(rig, upload) == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x.wav",
        "http://169.254.169.254/latest/meta-data/a.mp3",
        "file:///etc/passwd",
        f"http://{SITE}/to-the-canary",
        "data:text/html;base64,MTI=",
        "data:audio/wav,12",
        "",
    ],
)
async def test_a_url_that_may_not_be_fetched_is_refused_and_nothing_is_reached(
    rig: Rig, internet: World, url: str
) -> None:
    _real(rig, internet)
    internet.site.answers["/to-the-canary"] = redirect("http://127.0.0.1/x.wav")
    error = await refusal(rig, stored(rig, url.encode(), "url"))
    assert (error.status, error.param) == (400, "url")
    assert internet.canary.connections == 0


async def test_content_over_the_limit_is_refused(rig: Rig, internet: World) -> None:
    _real(rig, internet)
    internet.site.answers["/x"] = answer(b"x" * 200_001, content_type="audio/wav")
    error = await refusal(rig, stored(rig, f"http://{SITE}/x".encode(), "url"))
    assert (error.status, error.param) == (400, "url")
    assert "at most 200000 bytes" in error.message


async def test_audio_beyond_what_all_may_hold_is_told_to_come_again(rig: Rig) -> None:
    upload = stored(rig, b"s" * 100)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(rig.intake.samples(upload, ORG))
        with pytest.raises(ApiError) as caught:
            await seconds(rig, upload)
        assert (caught.value.status, caught.value.headers["retry-after"]) == (503, "1")
        # There is room for one more, of anybody else.
        assert await seconds(rig, upload, "org_another") == 100.0
    assert await seconds(rig, upload) == 100.0


async def test_an_organisation_fetches_a_few_files_at_once(tmp_path: Path) -> None:
    fetcher = _Slow()
    rig = Rig(tmp_path, fetcher)
    upload = stored(rig, URL.encode(), "url")
    fetching = [asyncio.ensure_future(seconds(rig, upload)) for _ in range(4)]
    await fetcher.two.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert fetcher.running == 2
    for task in fetching:
        task.cancel()
    await asyncio.wait(fetching)


class _Slow:
    """Never has an answer."""

    def __init__(self) -> None:
        self.running = 0
        self.two = asyncio.Event()

    async def fetch(self, url, *, org_id, max_bytes, accept, param):  # type: ignore[no-untyped-def]
        self.running += 1
        if self.running == 2:
            self.two.set()
        await asyncio.Event().wait()


async def test_content_is_not_written_to_an_upload_that_is_gone(rig: Rig) -> None:
    rig.fetcher.contents[URL] = b"1"
    upload = stored(rig, URL.encode(), "url")

    original = rig.fetcher.fetch

    async def fetch(*args, **options):  # type: ignore[no-untyped-def]
        fetched = await original(*args, **options)
        upload.path.unlink()
        return fetched

    rig.fetcher.fetch = fetch  # type: ignore[method-assign]
    with pytest.raises(FileNotFoundError):
        await seconds(rig, upload)
    assert (rig.left(), rig.decoder.decoded) == ([], [])
