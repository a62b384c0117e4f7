"""Forms whose file is passed on as it comes, and what may be said to it on the way."""

from collections.abc import AsyncIterator, Callable

import pytest

from app.errors import ApiError
from app.uploads import WRITE_BYTES, ReceivedForm, UploadForm, receive_form
from tests.app.multipart import CONTENT_TYPE, FILE, body, field, part, streamed

HEADERS = {"content-type": CONTENT_TYPE}
CONTENT = bytes(range(256)) * 16_000


class Collector:
    """A sink that keeps what it is given, and may fail."""

    def __init__(self, fails: bool = False) -> None:
        self.pieces: list[bytes] = []
        self._fails = fails

    async def write(self, data: bytes) -> None:
        if self._fails:
            raise ZeroDivisionError
        self.pieces.append(data)


def form_with(check: Callable[[ReceivedForm], None] = lambda received: None) -> UploadForm:
    return UploadForm(8 << 20, frozenset({"purpose"}), check=check)


async def test_the_file_is_passed_on_in_pieces_and_the_rest_is_told() -> None:
    sink = Collector()
    chunks = streamed([body(field("purpose", "x"), part(FILE, CONTENT))])
    received = await receive_form(chunks, HEADERS, form_with(), sink)
    assert b"".join(sink.pieces) == CONTENT
    assert len(sink.pieces) > 2
    assert (received.part, received.filename, received.size) == ("file", "a.zip", len(CONTENT))
    assert (received.head, received.fields) == (CONTENT[:16], {"purpose": "x"})


@pytest.mark.parametrize("step", [1, 7, 1 << 16])
async def test_the_head_is_the_same_however_the_form_is_cut(step: int) -> None:
    form = body(part(FILE, CONTENT[:40]))
    chunks = streamed([form[at : at + step] for at in range(0, len(form), step)])
    received = await receive_form(chunks, HEADERS, form_with(), Collector())
    assert received.head == CONTENT[:16]


async def test_a_check_may_refuse_before_the_rest_is_read() -> None:
    async def sent() -> AsyncIterator[bytes]:
        yield part(FILE, CONTENT)[:-2]
        raise AssertionError("read on")

    def refuse(received: ReceivedForm) -> None:
        assert received.size >= WRITE_BYTES
        raise ApiError(400, "not this")

    sink = Collector()
    with pytest.raises(ApiError, match="not this"):
        await receive_form(sent(), HEADERS, form_with(refuse), sink)
    assert sink.pieces == []


async def test_a_check_sees_the_whole_form_at_the_end() -> None:
    seen: list[ReceivedForm] = []
    chunks = streamed([body(part(FILE, CONTENT), field("purpose", "x"))])
    received = await receive_form(chunks, HEADERS, form_with(seen.append), Collector())
    assert [each.fields for each in seen][:2] == [{}, {}]
    assert seen[-1] == received
    assert received.fields == {"purpose": "x"}


async def test_a_sink_that_fails_ends_the_upload() -> None:
    chunks = streamed([body(part(FILE, CONTENT))])
    with pytest.raises(ZeroDivisionError):
        await receive_form(chunks, HEADERS, form_with(), Collector(fails=True))
