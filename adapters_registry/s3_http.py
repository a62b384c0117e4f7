"""How long an S3 store is waited for, and the HTTP session that keeps to it.

A socket's time-out ends silence only: one byte a second resets it for ever, and a reader that waits
for a full chunk cannot even be stopped meanwhile. So bodies are handed on as they arrive, and one
that comes more slowly than the least rate is given up, with the error of a time-out, which boto3
tries again. Not bounded: the status line and headers of an answer beyond silence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from urllib3 import exceptions

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from botocore.httpsession import URLLib3Session
    from urllib3 import HTTPResponse

_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a store is waited for before it counts as unavailable.

    `silence_seconds` bounds the time without a byte, `seconds(size)` a whole transfer, `attempts`
    the requests made for one call (and for each part of a file).
    """

    connect_seconds: float = 5.0
    silence_seconds: float = 20.0
    grace_seconds: float = 60.0
    bytes_per_second: float = 1 << 20
    attempts: int = 3

    def seconds(self, size: int) -> float:
        """Return the longest time that `size` bytes may take."""
        return self.grace_seconds + size / self.bytes_per_second


DEFAULT_PATIENCE = Patience()


class PacedSession:
    """A botocore HTTP session whose bodies keep to a pace; `sharing` of them share the least rate.

    **Source:** botocore.httpsession.URLLib3Session.send (1.44).
    """

    def __init__(self, session: "URLLib3Session", patience: Patience, sharing: int) -> None:
        self._session = session
        self._patience = patience
        self._sharing = sharing

    def send(self, request: "AWSPreparedRequest") -> "AWSResponse":
        wants_stream, request.stream_output = request.stream_output, True
        response = self._session.send(request)
        response.raw = _PacedBody(response.raw, self._patience, self._sharing)
        if not wants_stream:
            _read_now(response, request)
        return response

    def close(self) -> None:
        self._session.close()


class _PacedBody:
    """The body of one answer, read as it arrives."""

    def __init__(self, body: "HTTPResponse", patience: Patience, sharing: int) -> None:
        self._body = body
        self._patience = patience
        self._sharing = sharing
        self._received = 0
        self._waited = 0.0

    def read(self, amt: int | None = None) -> bytes:
        """Return what has come, up to `amt` bytes, b"" at the end; all of it without `amt`."""
        if amt is None:
            return b"".join(self.stream())
        try:
            chunk = self._read1(amt)
        except BaseException:
            self.close()
            raise
        if not chunk:
            self.close()  # an answer that broke off has not given its connection back
        return chunk

    def stream(self) -> Iterator[bytes]:
        while chunk := self.read(_CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        self._body.close()

    def _read1(self, amt: int) -> bytes:
        started = monotonic()
        chunk = self._body.read1(amt)
        self._waited += monotonic() - started
        self._received += len(chunk)
        if chunk and self._waited > self._patience.seconds(self._received * self._sharing):
            raise exceptions.ReadTimeoutError(None, None, "too slow")  # type: ignore[arg-type]
        return chunk


def _read_now(response: "AWSResponse", request: "AWSPreparedRequest") -> None:
    """Read a body that is no stream; where it breaks off, botocore is told so, and tries again."""
    url = request.url
    try:
        missing = int(response.headers.get("Content-Length", 0)) - len(response.content)
        if missing > 0 and request.method != "HEAD":
            raise exceptions.ProtocolError("the body broke off")
    except exceptions.ReadTimeoutError as error:
        raise ReadTimeoutError(endpoint_url=url, error=error) from error
    except exceptions.ProtocolError as error:
        raise ConnectionClosedError(error=error, request=request, endpoint_url=url) from error
