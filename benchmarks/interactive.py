"""People in a conversation: streams in a closed loop, and how long each waited for its tokens."""

import asyncio
import random
import re
import time
from dataclasses import dataclass, field
from itertools import pairwise

import httpx

from benchmarks.workloads import WORDS

CONTENT = re.compile(rb'"content":"[^"]')
"""In an event that holds text, and in no other."""

REQUEST_SECONDS = 120.0
WORDS_EACH = 8


@dataclass(frozen=True, slots=True)
class Talk:
    """Who talks to which model: so many clients at once, each asking again when it is answered."""

    url: str
    key: str
    model: str
    clients: int
    tokens: int


@dataclass(slots=True)
class Waits:
    """Seconds to each first token and between arrivals of further ones, and answers in all."""

    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    answers: int = 0
    refusals: int = 0

    def arrived(self, moments: list[float], asked: float) -> None:
        """Keep one answer, whose texts arrived at these moments."""
        self.answers += 1
        self.first.append(moments[0] - asked)
        self.between += [late - early for early, late in pairwise(moments)]


def talk(what: Talk, seconds: float, seed: int) -> Waits:
    """Have all clients talk for so long. Blocks."""
    return asyncio.run(_talk(what, seconds, seed))


async def _talk(what: Talk, seconds: float, seed: int) -> Waits:
    waits = Waits()
    until = time.perf_counter() + seconds
    headers = {"authorization": f"Bearer {what.key}"}
    async with (
        httpx.AsyncClient(base_url=what.url, headers=headers, timeout=REQUEST_SECONDS) as http,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(what.clients):
            draw = random.Random(f"{seed}-{number}")
            tasks.create_task(_converse(http, what, draw, until, waits))
    return waits


async def _converse(
    http: httpx.AsyncClient, what: Talk, draw: random.Random, until: float, waits: Waits
) -> None:
    while time.perf_counter() < until:
        text = " ".join(draw.choices(WORDS, k=WORDS_EACH))
        body = {
            "model": what.model,
            "messages": [{"role": "user", "content": f"{draw.random()} {text}?"}],
            "max_completion_tokens": what.tokens,
            "temperature": 0,
            "stream": True,
        }
        await _ask(http, body, waits)


async def _ask(http: httpx.AsyncClient, body: dict[str, object], waits: Waits) -> None:
    asked = time.perf_counter()
    moments = []
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            waits.refusals += 1
            return
        response.raise_for_status()
        async for chunk in response.aiter_bytes():
            if CONTENT.search(chunk):
                moments.append(time.perf_counter())
    if moments:
        waits.arrived(moments, asked)
