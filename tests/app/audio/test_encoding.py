import struct
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audio.encoding import AudioEncoder
from app.audio.formats import FORMATS, SAMPLE_RATES
from app.audio.types import Audio
from tests.app.audio.sounds import decoded, frequency, loudness, tone

SOURCE_RATE = 24_000
RAW = {"pcm": "s16le", "mulaw": "mulaw"}
# A frame or two of a codec that begins before the first sample and is filled up after the last.
LONGEST_FRAMES = 0.21


def encode(pieces: Iterable[Audio], encoder: AudioEncoder) -> bytes:
    return b"".join(encoder.encode(piece) for piece in pieces) + encoder.finish()


def heard(content: bytes, format: str, rate: int) -> tuple[Audio, int]:
    return decoded(content, RAW.get(format), sample_rate=rate if format in RAW else None)


def bytes_after(format: str, target_rate: int, samples: Audio) -> int:
    encoder = AudioEncoder(format, source_rate=SOURCE_RATE, target_rate=target_rate)
    return sum(len(encoder.encode(piece)) for piece in np.array_split(samples, 10))


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("format", FORMATS)
def test_each_format_at_each_rate_holds_the_sound(format: str, rate: int) -> None:
    encoder = AudioEncoder(format, source_rate=SOURCE_RATE, target_rate=rate)
    content = encode([tone(440, 2.0, SOURCE_RATE)], encoder)
    samples, found_rate = heard(content, format, encoder.sample_rate)
    # Opus is always decoded at its own rate.
    assert found_rate == (48_000 if format == "opus" else rate)
    assert len(samples) / found_rate == pytest.approx(2.0, abs=LONGEST_FRAMES)
    assert frequency(samples, found_rate) == pytest.approx(440, abs=1)
    middle = samples[found_rate // 2 : found_rate * 3 // 2]
    assert loudness(middle) == pytest.approx(0.5 / np.sqrt(2), rel=0.06)


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"opus"}))
def test_a_format_keeps_the_rate_that_was_asked_for(format: str, rate: int) -> None:
    encoder = AudioEncoder(format, source_rate=SOURCE_RATE, target_rate=rate)
    assert encoder.sample_rate == rate


@pytest.mark.parametrize("rate", [22_050, 32_000, 44_100])
def test_opus_has_48_khz_where_it_cannot_have_a_rate(rate: int) -> None:
    assert AudioEncoder("opus", source_rate=SOURCE_RATE, target_rate=rate).sample_rate == 48_000


@pytest.mark.parametrize(
    ("format", "media_type", "start"),
    [
        ("flac", "audio/flac", b"fLaC"),
        ("mp3", "audio/mpeg", b"\xff"),
        ("mulaw", "audio/basic", b""),
        ("ogg", "audio/ogg", b"OggS"),
        ("wav", "audio/wav", b"RIFF"),
        ("pcm", "audio/pcm", b""),
        ("opus", "audio/ogg", b"OggS"),
        ("aac", "audio/aac", b"\xff"),
    ],
)
def test_a_format_tells_its_type_and_begins_like_it(
    format: str, media_type: str, start: bytes
) -> None:
    encoder = AudioEncoder(format, source_rate=SOURCE_RATE, target_rate=48_000)
    assert encoder.media_type == media_type
    assert encode([tone(440, 0.5, SOURCE_RATE)], encoder).startswith(start)


def test_ogg_holds_vorbis() -> None:
    encoder = AudioEncoder("ogg", source_rate=SOURCE_RATE, target_rate=48_000)
    assert encode([tone(440, 0.5, SOURCE_RATE)], encoder)[28:35] == b"\x01vorbis"


def test_wav_is_16_bit_of_a_length_that_is_not_known() -> None:
    encoder = AudioEncoder("wav", source_rate=16_000, target_rate=16_000)
    content = encode([tone(440, 0.5, 16_000)], encoder)
    riff, size, kind = struct.unpack_from("<4sI8s", content)
    assert (riff, size, kind) == (b"RIFF", 0xFFFFFFFF, b"WAVEfmt ")
    assert struct.unpack_from("<HHIIHH", content, 20) == (1, 1, 16_000, 32_000, 2, 16)
    assert struct.unpack_from("<4sI", content, 36) == (b"data", 0xFFFFFFFF)
    assert len(content) == 44 + 16_000


def test_mulaw_is_a_byte_a_sample() -> None:
    encoder = AudioEncoder("mulaw", source_rate=8_000, target_rate=8_000)
    assert encode([np.zeros(800, np.float32)], encoder) == b"\xff" * 800


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"ogg"}))
def test_sound_leaves_within_the_first_half_second(format: str, rate: int) -> None:
    first = bytes_after(format, rate, tone(440, 0.05, SOURCE_RATE))
    assert bytes_after(format, rate, tone(440, 0.5, SOURCE_RATE)) > first + 100


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_vorbis_of_speech_leaves_within_two_seconds(rate: int) -> None:
    noise = np.random.default_rng(0).standard_normal(2 * SOURCE_RATE).astype(np.float32)
    header = bytes_after("ogg", rate, 0.1 * noise[:2400])
    assert bytes_after("ogg", rate, 0.1 * noise) > header > 2000


@settings(max_examples=25, deadline=None)
@given(
    format=st.sampled_from(sorted(FORMATS)),
    speed=st.sampled_from([0.5, 1.0, 1.3, 5.0]),
    cuts=st.lists(st.integers(0, SOURCE_RATE), max_size=30),
)
def test_the_pieces_that_come_make_no_difference(
    format: str, speed: float, cuts: list[int]
) -> None:
    samples = tone(440, 1.0, SOURCE_RATE)
    whole, pieces = (
        encode(
            parts, AudioEncoder(format, source_rate=SOURCE_RATE, target_rate=16_000, speed=speed)
        )
        for parts in ([samples], np.split(samples, sorted(cuts)))
    )
    first, _ = heard(whole, format, 16_000)
    second, _ = heard(pieces, format, 16_000)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("speed", [0.5, 0.77, 1.25, 1.9, 2.0, 2.1, 3.3, 4.0, 5.0])
@pytest.mark.parametrize("hertz", [150, 440, 1200])
def test_speed_changes_the_length_and_not_the_pitch(hertz: int, speed: float) -> None:
    encoder = AudioEncoder("wav", source_rate=22_050, target_rate=48_000, speed=speed)
    samples, rate = decoded(encode([tone(hertz, 10.0, 22_050)], encoder))
    assert len(samples) / rate == pytest.approx(10.0 / speed, rel=0.03)
    assert frequency(samples[rate // 10 : -rate // 10], rate) == pytest.approx(hertz, rel=0.02)
    assert loudness(samples) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("format", FORMATS)
def test_speech_of_no_length_ends_too(format: str) -> None:
    encoder = AudioEncoder(format, source_rate=SOURCE_RATE, target_rate=16_000, speed=2.0)
    headers = {"flac": b"fLaC", "ogg": b"OggS", "opus": b"OggS", "wav": b"RIFF"}
    assert encode([np.zeros(0, np.float32)], encoder)[:4] == headers.get(format, b"")


@pytest.mark.parametrize("format", ["pcm", "aac", "mp3"])
def test_samples_that_are_no_numbers_are_silence(format: str) -> None:
    samples = np.full(SOURCE_RATE, np.nan, np.float32)
    encoder = AudioEncoder(format, source_rate=SOURCE_RATE, target_rate=24_000)
    heard_samples, _ = heard(encode([samples], encoder), format, 24_000)
    assert loudness(heard_samples) < 1e-4


def test_samples_beyond_full_scale_are_cut() -> None:
    encoder = AudioEncoder("pcm", source_rate=16_000, target_rate=16_000)
    content = encode([np.array([7.0, -7.0, np.inf, -np.inf], np.float32)], encoder)
    assert struct.unpack("<4h", content) == (32_767, -32_768, 32_767, -32_768)


def test_samples_stay_as_the_caller_has_them() -> None:
    samples = np.array([0.5, 7.0, np.nan], np.float32)
    encode([samples], AudioEncoder("pcm", source_rate=16_000, target_rate=8_000))
    np.testing.assert_array_equal(samples, np.array([0.5, 7.0, np.nan], np.float32))


@pytest.mark.parametrize(
    ("format", "rate", "speed"),
    [("wma", 16_000, 1.0), ("wav", 11_025, 1.0), ("wav", 16_000, 0.49), ("wav", 16_000, 5.01)],
)
def test_what_is_not_offered_is_refused(format: str, rate: int, speed: float) -> None:
    with pytest.raises(ValueError, match="no such"):
        AudioEncoder(format, source_rate=16_000, target_rate=rate, speed=speed)
