"""The program that reads one audio file, in a process of its own; `decoding` starts it.

The file is its standard input, mono 16-bit samples at 16 kHz in the machine's byte order go to its
standard output, and its exit status says how it went. It gives up its rights before it looks at
the first byte: bounded memory and processor time, no further file or socket. It refuses every
container and codec that is not named here, and everything that a file may point to. It imports
nothing but PyAV, so that it starts fast and can do little.
"""

import os
import re
import resource
import sys
from collections.abc import Iterator
from typing import BinaryIO

import av

# PyAV imports these when it meets a stream of their kind; by then no file can be opened.
import av.subtitles.codeccontext
import av.subtitles.stream
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard

SAMPLE_RATE = 16_000
SAMPLE_BYTES = 2

DONE = 0
UNREADABLE = 10
TOO_LONG = 11
"""Exit statuses. Any other means that the program was ended, or is itself at fault."""

# Nothing after the three standard streams: neither a file nor a socket can be opened.
_DESCRIPTORS = 3
_SECOND = 1_000_000_000
_HEAD_BYTES = 64 << 10
_MAX_TAGS = 4
_MAX_CHANNELS = 64
_RATES = range(1_000, 768_001)

_ID3 = re.compile(rb"ID3..(.)([\x00-\x7f]{4})", re.DOTALL)
_MAGIC = (
    ("flac", re.compile(rb"fLaC")),
    ("ogg", re.compile(rb"OggS")),
    ("wav", re.compile(rb"(?:RIFF|RF64|BW64)....WAVE", re.DOTALL)),
    ("mov", re.compile(rb"....(?:ftyp|moov|mdat|free|skip|wide|pnot|styp|moof)", re.DOTALL)),
    ("matroska", re.compile(rb"\x1a\x45\xdf\xa3")),
    ("mpeg", re.compile(rb"\x00\x00\x01[\xba\xb3]")),
    # Zeros before the first frame are common. Layer bits 00 would be AAC, bit rate 15 is invalid.
    ("mp3", re.compile(rb"\x00*\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x00-\xef]")),
)
_CODECS = frozenset(
    [
        "aac",
        "alac",
        "flac",
        "mp1",
        "mp1float",
        "mp2",
        "mp2float",
        "mp3",
        "mp3float",
        "opus",
        "vorbis",
        "ac3",
        "adpcm_ima_wav",
        "adpcm_ms",
        "gsm_ms",
        "pcm_alaw",
        "pcm_mulaw",
        "pcm_u8",
        "pcm_s8",
        "pcm_s16le",
        "pcm_s16be",
        "pcm_s24le",
        "pcm_s24be",
        "pcm_s32le",
        "pcm_s32be",
        "pcm_f32le",
        "pcm_f32be",
        "pcm_f64le",
        "pcm_f64be",
    ]
)
# What PyAV raises for damaged files and for memory that there is not.
_DAMAGED = (
    av.FFmpegError,
    ValueError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    TypeError,
    MemoryError,
    EOFError,
)


class Unreadable(Exception):
    """The bytes are no audio that is accepted."""


class TooLong(Exception):
    """There is more audio than was asked for."""


def main(arguments: list[str]) -> int:
    """Decode standard input to standard output, and return the exit status.

    The arguments are the most bytes of memory, seconds of processor time and seconds of audio.
    """
    memory_bytes, cpu_seconds, audio_seconds = (int(argument) for argument in arguments)
    source = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - it ends with the process
    give_up_rights(memory_bytes, cpu_seconds)
    try:
        with open(1, "wb", buffering=1 << 16, closefd=False) as sink:
            for chunk in _mono(_frames(source), audio_seconds):
                sink.write(chunk)
    except TooLong:
        return TOO_LONG
    except (Unreadable, *_DAMAGED):
        return UNREADABLE
    return DONE


def give_up_rights(memory_bytes: int, cpu_seconds: int) -> None:
    """Bound this process for good: memory, time, and nothing may be opened, written or started."""
    for limit, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
    ):
        _, allowed = resource.getrlimit(limit)
        bound = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
        resource.setrlimit(limit, (bound, bound))


def container_of(source: BinaryIO) -> str:
    """Return FFmpeg's name of the container that the first bytes prove; reads from the start.

    **Raises:** Unreadable.
    """
    start = 0
    for _ in range(_MAX_TAGS):
        source.seek(start)
        head = source.read(_HEAD_BYTES)
        tag = _ID3.match(head)
        if tag is None:
            break
        start += _tag_bytes(tag)
    for name, magic in _MAGIC:
        if magic.match(head):
            return name
    raise Unreadable


def _tag_bytes(tag: re.Match[bytes]) -> int:
    """Return the length of an ID3 tag: seven bits a byte, with a footer where a flag says so."""
    size = 0
    for byte in tag[2]:
        size = size << 7 | byte
    footer = 10 if tag[1][0] & 0x10 else 0
    return 10 + size + footer


def _frames(source: BinaryIO) -> Iterator[AudioFrame]:
    """Yield the first audio stream's frames; a damaged packet is left out.

    **Raises:** Unreadable, when there is no such stream or most of it is damaged.
    """
    name = container_of(source)
    source.seek(0)
    with av.open(
        source,
        mode="r",
        format=name,
        # No protocol has the name `none`: a file cannot name another that is then opened.
        options={
            "format_whitelist": name,
            "protocol_whitelist": "none",
            "codec_whitelist": ",".join(_CODECS),
        },
        metadata_errors="replace",
    ) as container:
        yield from _decoded(container, _audio_stream(container))


def _audio_stream(container: InputContainer) -> AudioStream:
    """Return the first audio stream, set so that nothing else is looked at."""
    if not container.streams.audio:
        raise Unreadable
    stream = container.streams.audio[0]
    if stream.codec_context is None or stream.codec_context.name not in _CODECS:
        raise Unreadable
    stream.codec_context.thread_count = 1
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    return stream


def _decoded(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    good = bad = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except av.FFmpegError:
            bad += 1
            break
        try:
            frames = packet.decode()
        except av.FFmpegError:
            bad += 1
            continue
        good += len(frames)
        yield from frames
    if bad > good:
        raise Unreadable


def _mono(frames: Iterator[AudioFrame], audio_seconds: int) -> Iterator[memoryview]:
    """Yield the samples that go out. Rate and channels may change in the middle of a file."""
    resampler = AudioResampler("s16", "mono", SAMPLE_RATE)
    shape: object = None
    nanoseconds = 0
    for frame in frames:
        _check(frame)
        nanoseconds += frame.samples * _SECOND // frame.sample_rate
        if nanoseconds > audio_seconds * _SECOND:
            raise TooLong
        if shape not in (None, _shape(frame)):
            yield from _samples(resampler, None)
            resampler = AudioResampler("s16", "mono", SAMPLE_RATE)
        shape = _shape(frame)
        # Times are not believed: a gap in them would have to be filled.
        frame.pts = None
        yield from _samples(resampler, frame)
    yield from _samples(resampler, None)


def _check(frame: AudioFrame) -> None:
    """Refuse what would make much out of little."""
    if frame.sample_rate not in _RATES or frame.layout.nb_channels > _MAX_CHANNELS:
        raise Unreadable


def _shape(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _samples(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[memoryview]:
    for out in resampler.resample(frame):
        # The end of a stream that needed no change comes back as it went in.
        if out is not None:
            yield memoryview(out.planes[0])[: out.samples * SAMPLE_BYTES]


if __name__ == "__main__":
    # The interpreter's and FFmpeg's own clearing up would only take time.
    os._exit(main(sys.argv[1:]))
