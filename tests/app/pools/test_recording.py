"""A body that was read once can be read again, whole, and costs little until then."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message

from app.pools.recording import MEMORY_BYTES, Recording, RecordingLost, recorded
from tests.app.pools.sites import files


class Connection:
    """Sends pieces, then says that the client is gone."""

    def __init__(self, pieces: Sequence[bytes], *, ends: bool = True) -> None:
        last = len(pieces) - 1
        self._messages: list[Message] = [
            {"type": "http.request", "body": piece, "more_body": n < last or not ends}
            for n, piece in enumerate(pieces)
        ]

    async def receive(self) -> Message:
        return self._messages.pop(0) if self._messages else {"type": "http.disconnect"}


async def whole(recording: Recording) -> bytes:
    return b"".join([piece async for piece in recording.pieces()])


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=6), st.integers(0, 6))
def test_however_much_of_it_was_read_it_is_whole(pieces: list[bytes], read: int) -> None:
    async def run() -> bytes:
        async with recorded(Connection(pieces).receive, Path()) as recording:
            for _ in range(min(read, len(pieces))):
                await recording.receive()
            return await whole(recording)

    assert asyncio.run(run()) == b"".join(pieces)


async def test_a_large_body_lies_on_disk_until_it_is_forgotten(tmp_path: Path) -> None:
    pieces = [bytes([n]) * (MEMORY_BYTES // 2) for n in range(5)]
    async with recorded(Connection(pieces).receive, tmp_path) as recording:
        for _ in pieces:
            await recording.receive()
        assert await whole(recording) == b"".join(pieces)
    with pytest.raises(RecordingLost):
        await whole(recording)
    assert files(tmp_path) == []


async def test_a_client_that_leaves_in_the_middle_is_noticed(tmp_path: Path) -> None:
    async with recorded(Connection([b"a", b"b"], ends=False).receive, tmp_path) as recording:
        await recording.receive()
        with pytest.raises(ClientDisconnect):
            await whole(recording)


async def test_what_comes_behind_the_body_waits_for_its_end(tmp_path: Path) -> None:
    async with recorded(Connection([b"a", b"b"]).receive, tmp_path) as recording:
        waiting = asyncio.ensure_future(recording.receive_rest())
        await recording.receive()
        await asyncio.sleep(0)
        assert not waiting.done()
        await recording.receive()
        assert (await waiting)["type"] == "http.disconnect"


async def test_after_it_was_forgotten_nothing_is_kept(tmp_path: Path) -> None:
    pieces = [b"x" * MEMORY_BYTES] * 3
    async with recorded(Connection(pieces).receive, tmp_path) as recording:
        await recording.receive()
        await recording.discard()
        for piece in pieces[1:]:
            assert (await recording.receive())["body"] == piece
        with pytest.raises(RecordingLost):
            await whole(recording)
