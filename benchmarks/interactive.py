"""People who ask: streams that begin at random moments, and how long each waited for its tokens.

They come as often however long answers take: who waits for an answer before the next question asks
a slow server less, and hides what makes it slow.
"""

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
    """Who talks to which model: so many questions a second (Poisson), tokens of each answer."""

    url: str
    key: str
    model: str
    rate: float
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
    """Ask for so long, and hear the last answers to their end. Blocks."""
    return asyncio.run(_talk(what, seconds, seed))


async def _talk(what: Talk, seconds: float, seed: int) -> Waits:
    waits = Waits()
    until = time.perf_counter() + seconds
    headers = {"authorization": f"Bearer {what.key}"}
    async with (
        httpx.AsyncClient(base_url=what.url, headers=headers, timeout=REQUEST_SECONDS) as http,
        asyncio.TaskGroup() as tasks,
    ):
        moment, draw = time.perf_counter(), random.Random(seed)
        while (moment := moment + draw.expovariate(what.rate)) < until:
            await asyncio.sleep(moment - time.perf_counter())
            tasks.create_task(_ask(http, _question(what, draw), waits))
    return waits


def _question(what: Talk, draw: random.Random) -> dict[str, object]:
    text = " ".join(draw.choices(WORDS, k=WORDS_EACH))
    return {
        "model": what.model,
        "messages": [{"role": "user", "content": f"{draw.random()} {text}?"}],
        "max_completion_tokens": what.tokens,
        "temperature": 0,
        "stream": True,
    }


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
