"""The process that Piper runs in, as seen from here: its start, its frames and its end.

A request has one of a few places in the process from its first frame to the process's word that it
is over, also when its caller has gone; the others wait here, in the order of their coming. What is
kept for a slow reader is the sound of its text and no more.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import structlog

from app.engine import piper_worker
from app.engine.base import EngineDead, EngineError
from app.engine.speech import Audio

log = structlog.get_logger()

MOST_BODY_BYTES = 64 << 20
START_SECONDS = 120.0
EXIT_SECONDS = 5.0
GRACE_SECONDS = 10.0
"""More than a run may last passes only where the process hangs."""


class WorkerUnusable(Exception):
    """The process cannot speak; the message says why, for the operator.

    `is_missing` tells that Piper is not installed.
    """

    def __init__(self, reason: str, *, is_missing: bool = False) -> None:
        super().__init__(reason)
        self.is_missing = is_missing


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the process is started with.

    `voices` are paths by name, `running` how many texts are spoken at once, `threads` how many
    cores one of them takes, `run_seconds` how long one sentence may take.
    """

    voices: Mapping[str, str]
    running: int
    threads: int
    run_seconds: float


@dataclass(frozen=True, slots=True)
class Part:
    """Some sound, the number of the part that it is of the text, and of how many."""

    samples: Audio
    number: int
    of: int


@dataclass(slots=True)
class _Request:
    """What the process has said of a request. `outcome` is None until it is over.

    `made` is then how many parts of the text were made.
    """

    parts: asyncio.Queue[Part | None] = field(default_factory=asyncio.Queue)
    is_wanted: bool = True
    outcome: str | None = None
    made: int = 0

    def end(self, outcome: str, made: int) -> None:
        self.outcome, self.made = outcome, made
        self.parts.put_nowait(None)


class PiperProcess:
    """A running process. Made by `start`, ended by `close`; once dead it stays so."""

    def __init__(self, process: asyncio.subprocess.Process, settings: WorkerSettings) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self._patience = settings.run_seconds + GRACE_SECONDS
        self._places = asyncio.Semaphore(settings.running)
        self._requests: dict[int, _Request] = {}
        self._last_id = 0
        self._reading: asyncio.Task[None] | None = None
        self._is_closed = False

    @classmethod
    async def start(cls, settings: WorkerSettings) -> Self:
        """Start it and have it load its voices; takes a second. Cancelling ends it.

        **Raises:** WorkerUnusable.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", piper_worker.__file__),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Piper's log repeats what it speaks.
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            env={},
        )
        started = cls(process, settings)
        try:
            await started._ready(settings)
        except BaseException:
            await started.close()
            raise
        started._reading = asyncio.create_task(started._read())
        return started

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._reading is not None and not self._reading.done()

    async def speak(self, voice: str, text: str) -> AsyncGenerator[Part, None]:
        """Speak a text, part by part. Closing stops it within a sentence.

        **Raises:** EngineDead, EngineError.
        """
        number, request = await self._begin(voice, text)
        try:
            while (part := await self._next(request)) is not None:
                yield part
        finally:
            if request.outcome is None:
                request.is_wanted = False
                self._send({"kind": "cancel", "id": number})
        if request.outcome != "done":
            raise _error(request.outcome)

    async def close(self) -> None:
        """End the process and wait for it; what it speaks is lost."""
        self._is_closed = True
        self._kill()
        await asyncio.shield(self._process.wait())
        if self._reading is not None:
            await asyncio.shield(self._reading)
        self._input.close()

    async def _ready(self, settings: WorkerSettings) -> None:
        self._send(asdict(settings))
        try:
            async with asyncio.timeout(START_SECONDS):
                head, _ = await self._frame()
        except (EOFError, ValueError) as error:
            raise WorkerUnusable("its process ended while it started") from error
        except TimeoutError as error:
            raise WorkerUnusable("its process did not start in time") from error
        if head["kind"] != "ready":
            raise WorkerUnusable(head["reason"], is_missing=head["kind"] == "missing")

    async def _begin(self, voice: str, text: str) -> tuple[int, _Request]:
        await self._places.acquire()
        if not self.is_alive:
            self._places.release()
            raise EngineDead("the process of Piper has ended")
        self._last_id += 1
        request = self._requests[self._last_id] = _Request()
        self._send({"kind": "speak", "id": self._last_id, "voice": voice, "text": text})
        return self._last_id, request

    async def _next(self, request: _Request) -> Part | None:
        try:
            async with asyncio.timeout(self._patience):
                return await request.parts.get()
        except TimeoutError as error:
            log.error("piper process hangs and is ended", pid=self.pid)
            self._kill()
            raise EngineDead("the process of Piper does not answer") from error

    def _send(self, head: Mapping[str, Any]) -> None:
        if not self._input.is_closing():
            self._input.write(piper_worker.frame(head))

    def _kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def _read(self) -> None:
        """Hand out what the process says, until it ends."""
        try:
            while True:
                self._take(*await self._frame())
        except (EOFError, ValueError, LookupError):
            # Its output has ended, or is none that our program writes.
            status = await self._exit_status()
        if not self._is_closed:
            log.error("piper process has ended", pid=self.pid, status=status)
        for number in list(self._requests):
            self._end(number, "dead")

    async def _exit_status(self) -> int:
        """Wait for the end of a process that has said its last."""
        try:
            # To kill one that has died already takes its exit status away from who waits for it.
            async with asyncio.timeout(EXIT_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self._kill()
            return await self._process.wait()

    async def _frame(self) -> tuple[Any, bytes]:
        """Read a frame. **Raises:** EOFError, ValueError."""
        lengths = await self._output.readexactly(piper_worker.HEAD.size)
        head_length, body_length = piper_worker.HEAD.unpack(lengths)
        if head_length + body_length > MOST_BODY_BYTES:
            raise ValueError("a frame is too long")
        head = json.loads(await self._output.readexactly(head_length))
        return head, await self._output.readexactly(body_length)

    def _take(self, head: Mapping[str, Any], body: bytes) -> None:
        if head["kind"] == "end":
            self._end(head["id"], head["outcome"], head["made"])
        elif (request := self._requests[head["id"]]).is_wanted:
            samples = np.frombuffer(body, dtype=np.float32)
            request.parts.put_nowait(Part(samples, head["number"], head["of"]))

    def _end(self, number: int, outcome: str, made: int = 0) -> None:
        self._requests.pop(number).end(outcome, made)
        self._places.release()


def _error(outcome: str | None) -> EngineError:
    if outcome == "dead":
        return EngineDead("the process of Piper has ended")
    if outcome == "late":
        return EngineError("a sentence took too long to speak")
    return EngineError("the text could not be spoken")
