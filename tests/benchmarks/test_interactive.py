import asyncio
from collections.abc import AsyncIterator

import pytest

from benchmarks.interactive import CONTENT, Talk, Waits, talk

ANSWER_SECONDS = 0.5
EVENT = b'data: {"choices":[{"delta":{"content":"Hi"}}]}'
HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"


@pytest.fixture
async def slow_answers() -> AsyncIterator[str]:
    """A server whose answers take far longer than the time between two questions."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(ANSWER_SECONDS)
        writer.write(HEAD + EVENT + b"\n\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_an_answer_is_its_first_token_and_the_gaps_after_it() -> None:
    waits = Waits()

    waits.arrived([1.5, 1.75, 2.25], asked=1.0)

    assert (waits.first, waits.between, waits.answers) == ([0.5], [0.25, 0.5], 1)


@pytest.mark.parametrize(
    ("event", "holds_text"),
    [
        (b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}', False),
        (b'data: {"choices":[{"delta":{"content":"Hi"}}]}', True),
        (b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}', False),
        (b"data: [DONE]", False),
    ],
)
def test_only_events_with_text_count_as_tokens(event: bytes, holds_text: bool) -> None:
    assert bool(CONTENT.search(event)) == holds_text


async def test_questions_come_at_their_rate_however_long_answers_take(
    slow_answers: str,
) -> None:
    what = Talk(slow_answers, "key", "model", rate=50.0, tokens=1)

    waits = await asyncio.to_thread(talk, what, 1.0, 7)

    assert 30 <= waits.answers <= 75
    assert min(waits.first) >= ANSWER_SECONDS
