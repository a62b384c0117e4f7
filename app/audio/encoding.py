"""Encoding of speech as a stream: samples go in as they are made, and bytes come out early.

Everything here blocks and is bound by the processor: call it in a thread, one call at a time for
an encoder. It refuses formats and rates that are not in the tables of `formats`.
"""

import math
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np
import soundfile
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.filter import Graph

from app.audio.formats import FORMATS, SAMPLE_RATES, VORBIS, AudioFormat
from app.audio.types import Audio

SPEEDS = (0.5, 5.0)
"""Least and most. **Source:** GroqCloud OpenAPI v2.1, `CreateSpeechRequest`."""

# Blocks of one size, so that how the samples come makes no difference to the sound.
_BLOCKS_A_SECOND = 50
_STAGE_SPEED = 2.0
_MIN_BIT_RATE = 24_000
# Of 0 to 1. FFmpeg cannot encode Vorbis well and libsndfile sends pages of 4 kB: the better the
# sound, the sooner one is full.
_VORBIS_COMPRESSION = 0.2


class AudioEncoder:
    """Writes mono speech in one format, at another rate and speed if need be; pitch is kept."""

    def __init__(
        self, format: str, *, source_rate: int, target_rate: int, speed: float = 1.0
    ) -> None:
        """Prepare; blocks briefly.

        **Raises:** ValueError, for a format, target rate or speed that is not offered.
        """
        if format not in FORMATS or target_rate not in SAMPLE_RATES:
            raise ValueError("no such audio format or sample rate")
        if not SPEEDS[0] <= speed <= SPEEDS[1]:
            raise ValueError("no such speed")
        kind = FORMATS[format]
        self.media_type = kind.media_type
        self.sample_rate = target_rate if target_rate in kind.rates else max(kind.rates)
        self._block = source_rate // _BLOCKS_A_SECOND
        self._rest: Audio = np.empty(0, np.float32)
        self._tempo = _Tempo(source_rate, self.sample_rate, speed)
        self._sink = _Sink()
        self._writer: _Writer = (
            _VorbisWriter(self._sink, self.sample_rate)
            if kind.codec == VORBIS
            else _FFmpegWriter(self._sink, kind, self.sample_rate)
        )

    def encode(self, samples: Audio) -> bytes:
        """Take samples, (samples,) float32 at the source rate; return what bytes are ready.

        What lies beyond -1 to 1 is cut, and what is no number is silence. Blocks.
        """
        clean = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)
        waiting = np.concatenate((self._rest, clean), dtype=np.float32)
        whole = len(waiting) - len(waiting) % self._block
        for start in range(0, whole, self._block):
            self._write(self._tempo.change(waiting[start : start + self._block]))
        self._rest = waiting[whole:].copy()
        return self._sink.take()

    def finish(self) -> bytes:
        """Return the last bytes; nothing may be encoded afterwards. Blocks."""
        if len(self._rest):
            self._write(self._tempo.change(self._rest))
        self._write(self._tempo.end())
        self._writer.close()
        return self._sink.take()

    def _write(self, pieces: list[Audio]) -> None:
        for piece in pieces:
            self._writer.write(piece)


class _Sink:
    """A file that can only be appended to, and is emptied from time to time."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, content: Any) -> int:
        before = len(self._bytes)
        self._bytes += content
        return len(self._bytes) - before

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


class _AppendedFile:
    """A sink as libsndfile wants it: it asks where it is, but goes back in no Ogg file."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self._position = 0

    def write(self, content: Any) -> int:
        count = self._sink.write(content)
        self._position += count
        return count

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing is held back."""


class _Tempo:
    """Changes speed and sample rate."""

    def __init__(self, source_rate: int, target_rate: int, speed: float) -> None:
        self._rate = source_rate
        self._taken = 0
        self._graph: Graph | None = None
        if source_rate != target_rate or speed != 1.0:
            self._graph = _graph(source_rate, target_rate, speed)

    def change(self, samples: Audio) -> list[Audio]:
        if self._graph is None:
            return [samples]
        self._graph.push(_frame(samples, self._rate, self._taken))
        self._taken += len(samples)
        return _pulled(self._graph)

    def end(self) -> list[Audio]:
        if self._graph is None or not self._taken:
            return []
        self._graph.push(None)
        return _pulled(self._graph)


def _graph(source_rate: int, target_rate: int, speed: float) -> Graph:
    graph = Graph()
    source = graph.add(
        "abuffer",
        sample_rate=str(source_rate),
        sample_fmt="flt",
        channel_layout="mono",
        time_base=f"1/{source_rate}",
    )
    # Above its double, the filter leaves samples out instead of blending them.
    stages = max(math.ceil(math.log(speed, _STAGE_SPEED)), 1) if speed != 1.0 else 0
    tempos = [graph.add("atempo", f"{speed ** (1 / stages):.9f}") for _ in range(stages)]
    resampled = graph.add(
        "aformat", sample_rates=str(target_rate), sample_fmts="flt", channel_layouts="mono"
    )
    graph.link_nodes(source, *tempos, resampled, graph.add("abuffersink")).configure()
    return graph


def _pulled(graph: Graph) -> list[Audio]:
    pieces: list[Audio] = []
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, EOFError):
            return pieces
        assert isinstance(frame, AudioFrame)
        pieces.append(frame.to_ndarray()[0].astype(np.float32))


def _frame(samples: Audio, rate: int, start: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(samples[np.newaxis], format="flt", layout="mono")
    frame.sample_rate = rate
    frame.time_base = Fraction(1, rate)
    frame.pts = start
    return frame


class _Writer(Protocol):
    """Puts samples into a sink, in some format."""

    def write(self, samples: Audio) -> None: ...

    def close(self) -> None: ...


class _FFmpegWriter:
    def __init__(self, sink: _Sink, kind: AudioFormat, rate: int) -> None:
        self._rate = rate
        self._written = 0
        options = {"fflags": "bitexact", "flush_packets": "1", **kind.options}
        self._container = av.open(sink, "w", format=kind.muxer, options=options)
        stream = self._container.add_stream(kind.codec, rate=rate, layout="mono")
        assert isinstance(stream, AudioStream)
        self._stream = stream
        stream.format = kind.sample_format
        if kind.bits is not None:
            stream.bit_rate = max(kind.bits * rate, _MIN_BIT_RATE)

    def write(self, samples: Audio) -> None:
        frame = _frame(samples, self._rate, self._written)
        self._written += len(samples)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        # Speech of no length has a header too.
        self._container.start_encoding()
        self._container.mux(self._stream.encode(None))
        self._container.close()


class _VorbisWriter:
    def __init__(self, sink: _Sink, rate: int) -> None:
        self._file = soundfile.SoundFile(
            _AppendedFile(sink),
            "w",
            samplerate=rate,
            channels=1,
            format="OGG",
            subtype="VORBIS",
            compression_level=_VORBIS_COMPRESSION,
        )

    def write(self, samples: Audio) -> None:
        self._file.write(samples)

    def close(self) -> None:
        self._file.close()
