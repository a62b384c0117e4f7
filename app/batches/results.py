"""The result of a line: its text in the client's files, and in the parts that chunks store.

A part holds results in the order in which they came, `<number> <1 or 0> <final line>\\n`, 1 for the
output file and 0 for the error file. The id of a result depends on batch and number alone.
"""

import json
from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import UUID, uuid5

from typeid import TypeID

NOT_EXECUTED = {
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_cancelled": "This request was not executed because the batch was cancelled.",
    "processing_failed": "This request was given up: each attempt to process it was cut short.",
}


class Result(NamedTuple):
    """A line's final result. `text` is JSON of one line, without a line feed."""

    number: int
    is_ok: bool
    text: bytes


class Asked(NamedTuple):
    """Which line of which batch a result is for."""

    batch_id: str
    number: int
    custom_id: str


def answered(asked: Asked, status: int, request_id: str, body: bytes) -> Result:
    """Make the result of a line that an endpoint has answered; `body` is JSON."""
    # Between the tokens of JSON a line feed is a blank, and inside them there is none.
    body = body.replace(b"\r", b" ").replace(b"\n", b" ")
    response = b'{"status_code":%d,"request_id":"%s","body":%s}' % (
        status,
        request_id.encode(),
        body,
    )
    return Result(asked.number, 200 <= status < 300, _line(asked, response, b"null"))


def not_executed(asked: Asked, code: str) -> Result:
    """Make the result of a line without an answer; `code` is one of NOT_EXECUTED."""
    error = json.dumps({"code": code, "message": NOT_EXECUTED[code]}).encode()
    return Result(asked.number, False, _line(asked, b"null", error))


def part_line(result: Result) -> bytes:
    """Write a result as a part holds it."""
    return b"%d %d %s\n" % (result.number, result.is_ok, result.text)


def read_part_line(stored: bytes) -> Result:
    """Read it again, with or without its line feed. **Raises:** ValueError."""
    number, is_ok, text = stored.rstrip(b"\n").split(b" ", 2)
    return Result(int(number), is_ok == b"1", text)


def number_of(stored: bytes) -> int:
    """Return the number of a line of a part, or of the ordered input. **Raises:** ValueError."""
    return int(stored.split(b" ", 1)[0])


async def split_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the lines of a stream, without their line feeds."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


def _line(asked: Asked, response: bytes, error: bytes) -> bytes:
    batch = UUID(int=TypeID.from_string(asked.batch_id).uuid.int)
    # The library's own kind of UUID and the standard one do the same.
    id = TypeID.from_uuid(uuid5(batch, str(asked.number)), "batch_req")  # type: ignore[arg-type]
    # As ASCII: a client may have written half of a surrogate pair, which UTF-8 has no form for.
    custom_id = json.dumps(asked.custom_id).encode()
    form = b'{"id":"%s","custom_id":%s,"response":%s,"error":%s}'
    return form % (str(id).encode(), custom_id, response, error)
