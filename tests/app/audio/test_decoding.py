import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.audio.decoding import AudioDecoder, DecodeLimits
from app.audio.errors import (
    AudioError,
    AudioTooLong,
    AudioTooShort,
    AudioUnreadable,
    DecoderFailed,
)
from app.audio.types import SAMPLE_RATE, Audio
from app.errors import ApiError
from tests.app.audio.sounds import WRITERS, encoded, film, frequency, loudness, tone, written
from tests.hostile.audio import opus_bomb

ENDLESS = 10_000_000


async def decode(directory: Path, content: bytes, limits: DecodeLimits | None = None) -> Audio:
    decoder = AudioDecoder(limits or DecodeLimits(), concurrent=1)
    return await decoder.decode(written(directory, "audio", content), org_id="org_a")


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("ending", WRITERS)
async def test_each_container_is_decoded_to_16_khz_mono(
    tmp_path: Path, ending: str, layout: str
) -> None:
    container, codec, rate = WRITERS[ending]
    content = encoded(tone(440, 1.0, rate), container, codec, rate, layout=layout)
    samples = await decode(tmp_path, content)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=0.06 * SAMPLE_RATE)
    assert frequency(samples, SAMPLE_RATE) == pytest.approx(440, abs=0.5)
    assert loudness(samples) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("layout", ["2.1", "5.1", "7.1", "22.2", "3 channels", "12 channels"])
async def test_many_channels_become_one(tmp_path: Path, layout: str) -> None:
    content = encoded(tone(440, 0.5, 48_000), "wav", "pcm_s16le", 48_000, layout=layout)
    samples = await decode(tmp_path, content)
    assert len(samples) == SAMPLE_RATE // 2
    assert frequency(samples, SAMPLE_RATE) == pytest.approx(440, abs=0.5)


async def test_samples_that_need_no_change_come_out_as_they_are(tmp_path: Path) -> None:
    sound = tone(440, 0.5, SAMPLE_RATE)
    samples = await decode(tmp_path, encoded(sound, "wav", "pcm_s16le", SAMPLE_RATE))
    np.testing.assert_allclose(samples, sound, atol=1 / 32_768)


@pytest.mark.parametrize("ending", ["flac", "wav", "webm", "opus"])
async def test_a_header_need_not_tell_the_length(tmp_path: Path, ending: str) -> None:
    container, codec, rate = WRITERS[ending]
    content = encoded(tone(440, 1.0, rate), container, codec, rate, seekable=False)
    assert len(await decode(tmp_path, content)) == pytest.approx(SAMPLE_RATE, abs=10)


@pytest.mark.parametrize("ending", ["flac", "mp3", "mpeg", "mpga", "opus", "wav", "webm"])
async def test_what_is_left_of_a_truncated_file_is_decoded(tmp_path: Path, ending: str) -> None:
    container, codec, rate = WRITERS[ending]
    content = encoded(tone(440, 2.0, rate), container, codec, rate)
    samples = await decode(tmp_path, content[: len(content) // 2])
    assert 0.6 * SAMPLE_RATE < len(samples) < 1.1 * SAMPLE_RATE


@pytest.mark.parametrize("part", [1.0, 0.5])
async def test_ogg_vorbis_is_decoded_even_in_part(tmp_path: Path, part: float) -> None:
    buffer = io.BytesIO()
    noise = 0.1 * np.random.default_rng(1).standard_normal(441_000)
    soundfile.write(buffer, tone(440, 10.0, 44_100) + noise, 44_100, format="OGG", subtype="VORBIS")
    content = buffer.getvalue()
    samples = await decode(tmp_path, content[: int(len(content) * part)])
    assert len(samples) == pytest.approx(10 * part * SAMPLE_RATE, rel=0.15)
    assert frequency(samples, SAMPLE_RATE) == pytest.approx(440, abs=0.5)


async def test_an_mp4_without_its_index_is_unreadable(tmp_path: Path) -> None:
    content = encoded(tone(440, 2.0, 48_000), "mp4", "aac", 48_000)
    with pytest.raises(AudioUnreadable):
        await decode(tmp_path, content[: len(content) // 2])


async def test_a_file_may_change_its_rate_and_channels(tmp_path: Path) -> None:
    first = encoded(tone(440, 1.0, 16_000), "mp3", "libmp3lame", 16_000, write_xing="0")
    second = encoded(
        tone(440, 1.0, 22_050), "mp3", "libmp3lame", 22_050, layout="stereo", write_xing="0"
    )
    samples = await decode(tmp_path, first + second)
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE, rel=0.15)
    assert frequency(samples[-SAMPLE_RATE // 2 :], SAMPLE_RATE) == pytest.approx(440, abs=1)


async def test_a_tag_before_the_sound_is_passed_over(tmp_path: Path) -> None:
    tag = b"ID3\4\0\0" + bytes([0, 8, 0, 0]) + bytes(8 << 14)
    content = encoded(tone(440, 1.0, 44_100), "mp3", "libmp3lame", 44_100)
    assert len(await decode(tmp_path, tag + content)) == pytest.approx(SAMPLE_RATE, rel=0.05)


async def test_a_tag_may_hold_bytes_that_are_no_text(tmp_path: Path) -> None:
    content = encoded(tone(440, 0.5, 16_000), "flac", "flac", 16_000)
    comment = b"\x84\0\0\x10" + b"\0\0\0\0\1\0\0\0\4\0\0\0A=\xff\xfe"
    blocks = content[:4] + bytes([content[4] & 0x7F]) + content[5:42] + comment
    sound = content[content.index(b"\xff\xf8") :]
    assert len(await decode(tmp_path, blocks + sound)) == SAMPLE_RATE // 2


async def test_pictures_and_further_tracks_are_ignored(tmp_path: Path) -> None:
    samples = await decode(tmp_path, film(tone(440, 1.0, 48_000), tone(880, 3.0, 48_000)))
    assert len(samples) == SAMPLE_RATE
    assert frequency(samples, SAMPLE_RATE) == pytest.approx(440, abs=0.5)


async def test_a_film_without_sound_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(AudioUnreadable):
        await decode(tmp_path, film())


async def test_audio_of_the_longest_length_is_decoded(tmp_path: Path) -> None:
    content = encoded(tone(440, 2.0, SAMPLE_RATE), "wav", "pcm_s16le", SAMPLE_RATE)
    samples = await decode(tmp_path, content, DecodeLimits(audio_seconds=2))
    assert len(samples) == 2 * SAMPLE_RATE


async def test_longer_audio_is_refused_with_the_limit(tmp_path: Path) -> None:
    content = encoded(tone(440, 2.1, SAMPLE_RATE), "wav", "pcm_s16le", SAMPLE_RATE)
    with pytest.raises(AudioTooLong) as caught:
        await decode(tmp_path, content, DecodeLimits(audio_seconds=2))
    assert caught.value.limit_seconds == 2


@pytest.mark.parametrize("seconds", [0.001, 0.009])
async def test_audio_of_less_than_a_hundredth_of_a_second_is_too_short(
    tmp_path: Path, seconds: float
) -> None:
    content = encoded(tone(440, seconds, SAMPLE_RATE), "wav", "pcm_s16le", SAMPLE_RATE)
    with pytest.raises(AudioTooShort) as caught:
        await decode(tmp_path, content)
    assert caught.value.limit_seconds == 0.01


async def test_a_hundredth_of_a_second_is_long_enough(tmp_path: Path) -> None:
    content = encoded(tone(440, 0.01, SAMPLE_RATE), "wav", "pcm_s16le", SAMPLE_RATE)
    assert len(await decode(tmp_path, content)) == 160


async def test_damage_in_the_middle_costs_what_is_damaged(tmp_path: Path) -> None:
    content = bytearray(encoded(tone(440, 2.0, 44_100), "mp3", "libmp3lame", 44_100))
    middle = len(content) // 2
    content[middle : middle + 500] = bytes(500)
    assert len(await decode(tmp_path, bytes(content))) > 1.7 * SAMPLE_RATE


async def test_no_process_is_left_when_its_time_is_over(tmp_path: Path) -> None:
    bomb = opus_bomb(100)
    limits = DecodeLimits(audio_seconds=ENDLESS, wall_seconds=0.3)
    with pytest.raises(DecoderFailed):
        await decode(tmp_path, bomb, limits)
    assert not readers(tmp_path / "audio")


async def test_the_processor_time_of_a_file_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(AudioUnreadable):
        await decode(tmp_path, opus_bomb(100), DecodeLimits(audio_seconds=ENDLESS, cpu_seconds=1))


async def test_a_file_that_needs_more_memory_than_there_is_is_refused(tmp_path: Path) -> None:
    content = encoded(tone(440, 1.0, 48_000), "flac", "flac", 48_000, layout="7.1")
    with pytest.raises(AudioError):
        await decode(tmp_path, content, DecodeLimits(memory_bytes=64 << 20))


async def test_a_program_that_fails_blames_no_file(tmp_path: Path) -> None:
    decoder = AudioDecoder(DecodeLimits(), concurrent=1)
    with pytest.raises(DecoderFailed):
        # A directory can be opened, but the program cannot read it.
        await decoder.decode(tmp_path, org_id="org_a")


async def test_cancelling_ends_the_process(tmp_path: Path) -> None:
    async with being_decoded(AudioDecoder(LONG, concurrent=1), tmp_path, "org_a") as task:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not readers(tmp_path / "org_a")


async def test_one_organisation_cannot_take_every_process(tmp_path: Path) -> None:
    decoder = AudioDecoder(LONG, concurrent=2)
    short = encoded(tone(440, 0.5, SAMPLE_RATE), "wav", "pcm_s16le", SAMPLE_RATE)
    path = written(tmp_path, "short", short)
    async with being_decoded(decoder, tmp_path, "org_a"):
        with pytest.raises(ApiError) as caught:
            await decoder.decode(path, org_id="org_a")
        assert caught.value.status == 503
        assert len(await decoder.decode(path, org_id="org_b")) == SAMPLE_RATE // 2


LONG = DecodeLimits(audio_seconds=ENDLESS, wait_seconds=0.05)


@asynccontextmanager
async def being_decoded(
    decoder: AudioDecoder, directory: Path, org_id: str
) -> AsyncIterator[asyncio.Task[Audio]]:
    """Have a file decoded that takes minutes; yield when its process runs."""
    path = written(directory, org_id, opus_bomb(100))
    task = asyncio.create_task(decoder.decode(path, org_id=org_id))
    async with asyncio.timeout(10):
        while not await asyncio.to_thread(readers, path):
            pass
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def readers(path: Path) -> list[str]:
    """Return the processes whose standard input is a file."""
    inputs = Path("/proc").glob("[0-9]*/fd/0")
    return [entry.parts[2] for entry in inputs if _target(entry) == str(path)]


def _target(link: Path) -> str | None:
    try:
        return str(link.readlink())
    except OSError:
        return None
