import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from benchmarks.closed_loop import Failed, Load, run, texts

ANSWER_SECONDS = 0.05
CLIENTS = 3


@dataclass
class Server:
    """Answers each question a while later, and tells which model was asked."""

    url: str = ""
    status: int = 200
    now: int = 0
    most: int = 0
    asked: Counter[str] = field(default_factory=Counter)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = {"choices": [{"message": {"content": "said"}}]}
        while head := await _head(reader):
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.asked[json.loads(await reader.readexactly(length))["model"]] += 1
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(ANSWER_SECONDS)
            self.now -= 1
            body = json.dumps(said).encode()
            kind = b"content-type: application/json\r\n"
            start = b"HTTP/1.1 %d told\r\n%scontent-length: %d\r\n\r\n"
            writer.write(start % (self.status, kind, len(body)) + body)
            await writer.drain()
        writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as listening:
        made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield made


def load(server: Server, *models: str) -> Load:
    return Load(server.url, os.getpid(), "key", models or ("base",), CLIENTS, 4, is_streamed=False)


async def test_each_client_asks_again_when_it_has_its_answer(server: Server) -> None:
    heard = await asyncio.to_thread(run, load(server, "a", "b"), 1.0, 7)

    assert server.most == CLIENTS
    assert heard.answers == len(heard.first) == server.asked.total()
    assert heard.rate <= CLIENTS / ANSWER_SECONDS
    assert heard.answers >= 2 * CLIENTS
    assert abs(server.asked["a"] - server.asked["b"]) <= 1
    assert min(heard.first) >= ANSWER_SECONDS


async def test_what_is_answered_can_be_compared(server: Server) -> None:
    assert await asyncio.to_thread(texts, load(server), 2, 7) == ["said", "said"]


async def test_an_error_is_no_answer(server: Server) -> None:
    server.status = 503
    with pytest.raises(Failed, match="said"):
        await asyncio.to_thread(texts, load(server), 1, 7)
    with pytest.raises(Failed, match="said"):
        await asyncio.to_thread(run, load(server), 0.2, 7)
