"""What an application has read of a request's body, kept so that it can be read once more.

A small body stays in memory, a larger one lies in a temporary file. How much there is, is bounded
by what the application reads. A disk that takes no more loses the recording, not the request.
"""

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

T = TypeVar("T")
log = structlog.get_logger(__name__)

MEMORY_BYTES = 1 << 20
PIECE_BYTES = 256 << 10


class RecordingLost(Exception):
    """The body was not kept, and its client will not send it twice."""


class Recording:
    """Stands between a connection and an application, and keeps what the one reads of the other.

    `source` is the connection, for whoever needs no more of the body.
    """

    def __init__(self, receive: Receive, directory: Path) -> None:
        self.source = receive
        # Makes a file only where memory does not do; whoever opens a recording closes it.
        self._spool = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            MEMORY_BYTES, dir=str(directory), prefix="forward-"
        )
        self._lock = threading.Lock()
        self._size = 0
        self._is_lost = False
        self._is_whole = asyncio.Event()

    async def receive(self) -> Message:
        """Receive for the application."""
        message = await self.source()
        if message["type"] == "http.request":
            await self._keep(message.get("body", b""))
            self._note(message)
        return message

    async def receive_rest(self) -> Message:
        """Receive what comes behind the body, once that has been read to its end."""
        await self._is_whole.wait()
        return await self.source()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Read the body from its beginning, and on to its end where that is still to come.

        **Raises:** RecordingLost, ClientDisconnect.
        """
        if self._is_lost or self._spool.closed:
            raise RecordingLost
        await self._blocking(lambda: self._spool.seek(0))
        while piece := await self._blocking(lambda: self._spool.read(PIECE_BYTES)):
            yield piece
        while not self._is_whole.is_set():
            message = await self.source()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._note(message)
            if piece := message.get("body", b""):
                yield piece

    async def discard(self) -> None:
        """Forget the body; what is read from now on is not kept."""
        if self._size > MEMORY_BYTES:
            # Shielded, because a cancelled request must not leave its file behind either.
            await asyncio.shield(asyncio.to_thread(self._close))
        else:
            self._close()

    def _note(self, message: Message) -> None:
        if not message.get("more_body", False):
            self._is_whole.set()

    async def _keep(self, piece: bytes) -> None:
        if self._is_lost or not piece:
            return
        self._size += len(piece)
        try:
            await self._blocking(lambda: self._write(piece))
        except OSError as error:
            self._is_lost = True
            log.warning("request body not kept", error=type(error).__name__)

    async def _blocking(self, work: Callable[[], T]) -> T:
        """Do what blocks only where the body lies on disk; in a thread then."""
        return work() if self._size <= MEMORY_BYTES else await asyncio.to_thread(work)

    def _write(self, piece: bytes) -> None:
        with self._lock:
            if not self._spool.closed:
                self._spool.write(piece)

    def _close(self) -> None:
        with self._lock:
            self._spool.close()


@asynccontextmanager
async def recorded(receive: Receive, directory: Path) -> AsyncIterator[Recording]:
    """Keep a request's body until the block ends."""
    recording = Recording(receive, directory)
    try:
        yield recording
    finally:
        await recording.discard()
