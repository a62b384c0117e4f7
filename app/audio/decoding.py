"""Decoding of untrusted audio files, each in a bounded process that is gone when it is done.

What a file claims is never believed: the process that reads it is bounded in memory, processor
time, wall-clock time and seconds of audio, and what it sends back is bounded once more here. An
organisation cannot take every process. The text of a library's error never comes out.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from app.audio import decoder
from app.audio.errors import AudioTooLong, AudioTooShort, AudioUnreadable, DecoderFailed
from app.audio.types import SAMPLE_RATE, Audio
from app.shares import Shares

log = structlog.get_logger()

MIN_SECONDS = 0.01
"""The shortest audio. **Source:** GroqCloud documentation, speech to text."""

_READ_BYTES = 1 << 20
_FULL_SCALE = 1 << 15


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Bounds of one file's decoding.

    `memory_bytes` counts address space, of which the program itself takes about 130 MB.
    `wait_seconds` is how long a file waits for its turn, `wall_seconds` how long that may last.
    """

    audio_seconds: int = 3600
    cpu_seconds: int = 60
    wall_seconds: float = 120.0
    wait_seconds: float = 30.0
    memory_bytes: int = 512 << 20

    @property
    def decoded_bytes(self) -> int:
        """The most that a process may send; resamplers round up."""
        return (self.audio_seconds + 1) * SAMPLE_RATE * decoder.SAMPLE_BYTES


class AudioDecoder:
    """Decodes at most `concurrent` files at once, for one organisation half as many at most."""

    def __init__(self, limits: DecodeLimits, *, concurrent: int) -> None:
        self._limits = limits
        self._turns = Shares(
            concurrent,
            max(concurrent // 2, 1),
            wait_seconds=limits.wait_seconds,
            refusal="Too many audio files are being decoded at present.",
        )

    async def decode(self, path: Path, *, org_id: str) -> Audio:
        """Return the first audio stream of a file: (samples,) float32, mono, 16 kHz, -1 to 1.

        Cancelling ends the process. The caller holds 64 kB for each second of audio, and half
        of that again while it is made.
        **Raises:** AudioUnreadable, AudioTooLong, AudioTooShort, DecoderFailed; ApiError 503, when
        no turn came in time.
        """
        async with self._turns.hold(org_id):
            content = await self._run(path)
        if len(content) < MIN_SECONDS * SAMPLE_RATE * decoder.SAMPLE_BYTES:
            raise AudioTooShort(MIN_SECONDS)
        return await asyncio.to_thread(_as_float, content)

    async def _run(self, path: Path) -> bytearray:
        try:
            async with asyncio.timeout(self._limits.wall_seconds), self._process(path) as process:
                content = await self._read(process)
                status = await process.wait()
        except TimeoutError as error:
            log.warning("audio_decoder_too_slow", seconds=self._limits.wall_seconds)
            raise DecoderFailed from error
        self._check(status)
        return content

    @asynccontextmanager
    async def _process(self, path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start the program on a file; however the block ends, it has ended then too."""
        process = await self._start(path)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await asyncio.shield(process.wait())

    async def _start(self, path: Path) -> asyncio.subprocess.Process:
        limits = self._limits
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", decoder.__file__),
                *(str(limits.memory_bytes), str(limits.cpu_seconds), str(limits.audio_seconds)),
                stdin=descriptor,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=_READ_BYTES,
                cwd="/",
                env={},
            )
        finally:
            os.close(descriptor)

    async def _read(self, process: asyncio.subprocess.Process) -> bytearray:
        assert process.stdout is not None
        content = bytearray()
        while chunk := await process.stdout.read(_READ_BYTES):
            content += chunk
            if len(content) > self._limits.decoded_bytes:
                raise AudioTooLong(self._limits.audio_seconds)
        return content

    def _check(self, status: int) -> None:
        if status == decoder.TOO_LONG:
            raise AudioTooLong(self._limits.audio_seconds)
        if status == decoder.UNREADABLE:
            raise AudioUnreadable
        if status < 0:
            # A crash, or a bound of the process: either is the file's doing.
            log.warning("audio_decoder_ended_by_signal", signal=-status)
            raise AudioUnreadable
        if status != decoder.DONE:
            log.error("audio_decoder_failed", status=status)
            raise DecoderFailed


def _as_float(content: bytearray) -> Audio:
    samples = np.frombuffer(content, dtype=np.int16)
    return np.multiply(samples, np.float32(1 / _FULL_SCALE), dtype=np.float32)
