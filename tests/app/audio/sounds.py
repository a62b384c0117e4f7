"""Sounds made by formula and written by FFmpeg, and how to tell what a sound is."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from app.audio.types import Audio

# Container of FFmpeg, codec and rate of a file with each accepted ending.
WRITERS = {
    "flac": ("flac", "flac", 44_100),
    "mp3": ("mp3", "libmp3lame", 44_100),
    "mp4": ("mp4", "aac", 48_000),
    "mpeg": ("mpeg", "mp2", 44_100),
    "mpga": ("mp2", "mp2", 32_000),
    "m4a": ("ipod", "aac", 22_050),
    "ogg": ("ogg", "flac", 24_000),
    "opus": ("opus", "libopus", 48_000),
    "wav": ("wav", "pcm_s16le", 11_025),
    "webm": ("webm", "libopus", 48_000),
}


def tone(hertz: float, seconds: float, rate: int, *, level: float = 0.5) -> Audio:
    """Return a sine."""
    times = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def frequency(samples: Audio, rate: int) -> float:
    """Return the strongest frequency in Hz, between the bins of the spectrum too."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    peak = int(spectrum[1:-1].argmax()) + 1
    left, middle, right = np.log(spectrum[peak - 1 : peak + 2] + 1e-12)
    shift = (left - right) / (2 * (left - 2 * middle + right))
    return float((peak + shift) * rate / len(samples))


def loudness(samples: Audio) -> float:
    """Return the RMS."""
    return float(np.sqrt(np.mean(samples**2)))


def encoded(
    samples: Audio,
    container: str,
    codec: str,
    rate: int,
    *,
    layout: str = "mono",
    seekable: bool = True,
    **options: str,
) -> bytes:
    """Return a file that FFmpeg writes; every channel holds the same samples."""
    buffer = io.BytesIO()
    file: Any = buffer if seekable else _Pipe(buffer)
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout=layout, options=options)
        channels = stream.layout.nb_channels
        for start in range(0, len(samples), 1024):
            piece = samples[start : start + 1024]
            packed = np.repeat(piece, channels)[None]
            frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
            frame.sample_rate = rate
            frame.pts = start
            frame.time_base = Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def film(*tracks: Audio, rate: int = 48_000) -> bytes:
    """Return WebM of a few black pictures, with a track for each sound."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm") as output:
        pictures = output.add_stream("libvpx", rate=10)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        streams = [output.add_stream("libopus", rate=rate, layout="mono") for _ in tracks]
        for number in range(10):
            picture = av.VideoFrame(64, 64, "yuv420p")
            picture.pts = number
            output.mux(pictures.encode(picture))
        output.mux(pictures.encode(None))
        for stream, samples in zip(streams, tracks, strict=True):
            frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
            frame.sample_rate = rate
            frame.pts = 0
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return buffer.getvalue()


class _Pipe:
    """A file that cannot be rewound, so that no header tells the length afterwards."""

    def __init__(self, buffer: io.BytesIO) -> None:
        self.write = buffer.write


def decoded(
    content: bytes, container: str | None = None, *, sample_rate: int | None = None
) -> tuple[Audio, int]:
    """Return the mono samples of a file and their rate, as FFmpeg itself reads them.

    Raw samples have no header: their container and rate must be told.
    """
    pieces = []
    options = {} if sample_rate is None else {"sample_rate": str(sample_rate)}
    with av.open(io.BytesIO(content), "r", format=container, options=options) as source:
        resampler = av.AudioResampler("flt", "mono")
        for frame in source.decode(audio=0):
            rate = frame.sample_rate
            pieces += [out.to_ndarray() for out in resampler.resample(frame)]
    return np.concatenate(pieces, axis=1)[0].astype(np.float32), rate


def written(directory: Path, name: str, content: bytes) -> Path:
    """Write a file and return where."""
    path = directory / name
    path.write_bytes(content)
    return path
