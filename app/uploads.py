"""Multipart uploads: one file (or a text) streamed to where it is wanted, a few short fields.

There are bounds on all: whatever the request claims or leaves open, memory stays within a few
chunks, and what is passed on within `max_bytes`. The form is closed: a field that is not expected
is refused.
"""

import asyncio
import hashlib
import re
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import ApiError, invalid_request, shortened

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELD_BYTES = 16 << 10
MAX_HEADER_BYTES = 8 << 10
MAX_HEADERS = 8
MAX_LIST_ITEMS = 8
MAX_FILENAME_CHARACTERS = 255
MAX_OVERHEAD_BYTES = 256 << 10
HEAD_BYTES = 16
WRITE_BYTES = 1 << 20
PARSE_BYTES = 64 << 10
BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Sink(Protocol):
    """Takes the bytes of the file as they come."""

    async def write(self, data: bytes) -> None:
        """Take these; what it raises ends the upload."""
        ...


@dataclass(frozen=True, slots=True)
class ReceivedForm:
    """What has come of a form, or its whole.

    `filename` is what the client claims, without directories, not a path. `part` names the part
    that is stored; one that came in place of the file has no filename. `size` counts its bytes,
    `head` are the first of them.
    """

    part: str
    filename: str
    size: int
    head: bytes
    fields: Mapping[str, str]
    lists: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class UploadForm:
    """What a form may hold: one part `file` of at most `max_bytes`, and text fields by name.

    Those of `lists` may come several times. `instead` names a text that may come in place of the
    file; it is stored and bounded like it. `check_filename` may refuse a file before it is read,
    `check` what has come so far, each time that some of it is to be passed on.
    """

    max_bytes: int
    fields: frozenset[str]
    lists: frozenset[str] = frozenset()
    instead: str | None = None
    check_filename: Callable[[str], None] = lambda filename: None
    check: Callable[[ReceivedForm], None] = lambda received: None

    @property
    def stored(self) -> tuple[str, ...]:
        """The parts of which one comes, and is stored."""
        return ("file",) if self.instead is None else ("file", self.instead)

    def knows(self, name: str) -> bool:
        """Tell whether a part may have this name."""
        return name in self.stored or name in self.fields or name in self.lists


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A received file on local disk, else as in ReceivedForm."""

    path: Path
    filename: str
    size: int
    sha256: str
    fields: Mapping[str, str]
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    part: str = "file"


async def receive_form(
    stream: AsyncIterator[bytes], headers: Mapping[str, str], form: UploadForm, sink: Sink
) -> ReceivedForm:
    """Read a multipart body, and pass its file on to `sink` as it comes.

    **Raises:** ApiError 400 or 413; whatever `stream` raises, such as the client's disconnect, and
    whatever `sink` does.
    """
    boundary = _boundary(headers.get("content-type", ""))
    _check_claimed_length(headers.get("content-length", ""), form)
    reader = _FormReader(boundary, form)
    async for chunk in stream:
        for start in range(0, len(chunk), PARSE_BYTES):
            reader.feed(chunk[start : start + PARSE_BYTES])
            if len(reader.pending) >= WRITE_BYTES:
                form.check(reader.received())
                await sink.write(reader.take())
    received = reader.finish()
    form.check(received)
    await sink.write(reader.take())
    return received


@asynccontextmanager
async def receive_upload(
    stream: AsyncIterator[bytes], headers: Mapping[str, str], form: UploadForm, directory: Path
) -> AsyncIterator[UploadedFile]:
    """Read a multipart body into a local file, which exists until the block ends.

    **Raises:** as `receive_form`.
    """
    spool = _Spool(directory)
    try:
        received = await receive_form(stream, headers, form, spool)
        yield UploadedFile(
            path=spool.path,
            filename=received.filename,
            size=received.size,
            sha256=spool.sha256(),
            fields=received.fields,
            lists=received.lists,
            part=received.part,
        )
    finally:
        # Shielded, because a cancelled request must not leave its file behind either.
        await asyncio.shield(asyncio.to_thread(spool.discard))


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type[:1024])
    if kind != b"multipart/form-data":
        raise invalid_request("the body must be multipart/form-data with a part `file`")
    boundary = options.get(b"boundary", b"")
    if not BOUNDARY.fullmatch(boundary.decode("latin-1")):
        raise _malformed()
    return boundary


def _check_claimed_length(content_length: str, form: UploadForm) -> None:
    if content_length.isdecimal() and int(content_length[:20]) > _body_limit(form):
        raise _too_large(form)


def _body_limit(form: UploadForm) -> int:
    return form.max_bytes + MAX_OVERHEAD_BYTES


def _malformed() -> ApiError:
    return invalid_request("the multipart body is malformed")


def _too_large(form: UploadForm, part: str = "file") -> ApiError:
    message = f"the {part} is too large: at most {form.max_bytes} bytes are accepted"
    return ApiError(413, message, param=part, code="request_too_large")


def _too_many(name: str) -> ApiError:
    message = f"property '{name}' is given more than {MAX_LIST_ITEMS} times"
    return invalid_request(message, param=name)


def _too_long(name: str) -> ApiError:
    return invalid_request(f"property '{name}' is too long", param=name)


class _Spool:
    """The temporary file. What blocks runs in threads that cancellation cannot stop."""

    def __init__(self, directory: Path) -> None:
        # Nothing may come between the file's creation and the caller's `finally`; one local open
        # is short enough to do here.
        self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115
            dir=directory, prefix="upload-", delete=False, buffering=0
        )
        self._lock = threading.Lock()
        self._digest = hashlib.sha256()
        self.path = Path(self._file.name)

    async def write(self, data: bytes) -> None:
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        with self._lock:
            if self._file.closed:
                return
            self._write_all(memoryview(data))
            self._digest.update(data)

    def _write_all(self, data: memoryview) -> None:
        while data:
            data = data[self._file.write(data) :]

    def discard(self) -> None:
        with self._lock:
            self._file.close()
            self.path.unlink(missing_ok=True)

    def sha256(self) -> str:
        return self._digest.hexdigest()


@dataclass(slots=True)
class _Part:
    """The part that is being read: its headers first, then its name."""

    header_name: bytes = b""
    header_value: bytes = b""
    disposition: bytes | None = None
    name: str = ""
    value: bytearray = field(default_factory=bytearray)


class _FormReader:
    """Turns parser events into fields and pending file bytes; refuses at the first excess."""

    def __init__(self, boundary: bytes, form: UploadForm) -> None:
        self._form = form
        self._part = _Part()
        self._received = 0
        self._file_bytes = 0
        self._head = bytearray()
        self._ended = False
        self._stored: str | None = None
        self._filename = ""
        self._fields: dict[str, str] = {}
        self._lists: dict[str, list[str]] = {}
        self.pending = bytearray()
        self._parser = MultipartParser(
            boundary,
            self._callbacks(),
            max_header_count=MAX_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )

    def feed(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > _body_limit(self._form):
            raise _too_large(self._form)
        try:
            self._parser.write(data)
        except FormParserError:
            raise _malformed() from None

    def take(self) -> bytes:
        taken = bytes(self.pending)
        self.pending.clear()
        return taken

    def received(self) -> ReceivedForm:
        """Tell what has come so far of a form whose file has begun."""
        if self._stored is None:
            raise _nothing_stored(self._form)
        return ReceivedForm(
            part=self._stored,
            filename=self._filename,
            size=self._file_bytes,
            head=bytes(self._head),
            fields=dict(self._fields),
            lists=dict(self._lists),
        )

    def finish(self) -> ReceivedForm:
        if not self._ended:
            raise _malformed()
        return self.received()

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open_part,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._part = _Part()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _end_header(self) -> None:
        part = self._part
        if part.header_name.lower() == b"content-disposition":
            if part.disposition is not None:
                raise _malformed()
            part.disposition = part.header_value
        part.header_name = part.header_value = b""

    def _open_part(self) -> None:
        disposition = (self._part.disposition or b"").decode("latin-1")
        kind, options = parse_options_header(disposition)
        if kind != b"form-data" or b"name" not in options:
            raise _malformed()
        self._part.name = name = _text(options[b"name"])
        self._check_name(name)
        if name in self._form.stored:
            self._stored = name
        if name == "file":
            self._filename = _filename(options)
            self._form.check_filename(self._filename)

    def _check_name(self, name: str) -> None:
        """Refuse a part that may not come, or not again: that bounds the number of parts."""
        if not self._form.knows(name):
            shown = CONTROL.sub("?", shortened(name))
            raise invalid_request(f"property '{shown}' is unsupported")
        if name in self._fields or name == self._stored:
            raise invalid_request(f"property '{name}' is given more than once", param=name)
        if name in self._form.stored and self._stored is not None:
            message = f"only one of `{self._stored}` and `{name}` may be given"
            raise invalid_request(message, param=name)
        if len(self._lists.get(name, ())) == MAX_LIST_ITEMS:
            raise _too_many(name)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.name in self._form.stored:
            self._add_file_data(data, start, end)
            return
        self._part.value += data[start:end]
        if len(self._part.value) > MAX_FIELD_BYTES:
            raise _too_long(self._part.name)

    def _add_file_data(self, data: bytes, start: int, end: int) -> None:
        self._file_bytes += end - start
        if self._file_bytes > self._form.max_bytes:
            raise _too_large(self._form, self._part.name)
        self._head += data[start : min(end, start + HEAD_BYTES - len(self._head))]
        self.pending += data[start:end]

    def _end_part(self) -> None:
        name = self._part.name
        if name in self._form.stored:
            return
        value = _text(bytes(self._part.value))
        if name in self._form.lists:
            self._lists.setdefault(name, []).append(value)
        else:
            self._fields[name] = value

    def _end(self) -> None:
        self._ended = True


def _nothing_stored(form: UploadForm) -> ApiError:
    if form.instead is None:
        return invalid_request("property 'file' is missing", param="file")
    return invalid_request(f"either `file` or `{form.instead}` must be provided", param="file")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise invalid_request("the form's names and values must be UTF-8") from None


def _filename(options: Mapping[bytes, bytes]) -> str:
    if b"filename" not in options:
        raise invalid_request("`file` must be sent as a file, with a filename", param="file")
    # RFC 7578 section 4.2: directories in a name are to be ignored.
    name = re.split(r"[/\\]", _text(options[b"filename"]))[-1]
    if name in {"", ".", ".."} or CONTROL.search(name):
        raise invalid_request("the filename is empty or has control characters", param="file")
    if len(name) > MAX_FILENAME_CHARACTERS:
        limit = f"at most {MAX_FILENAME_CHARACTERS} characters"
        raise invalid_request(f"the filename is too long: {limit} are accepted", param="file")
    return name
