"""So many clients at once, each of which asks again as soon as it has its answer."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle

import aiohttp
import psutil

from benchmarks.workloads import WORDS

CHAT = "/v1/chat/completions"
WORDS_EACH = 8
REQUEST_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of whom: by so many clients, of these models in turn.

    `pid` is the process that answers HTTP. An answer has `tokens` on average, half as many more or
    fewer: clients whose answers are all of one length march in step.
    """

    url: str
    pid: int
    key: str
    models: Sequence[str]
    clients: int
    tokens: int
    is_streamed: bool


@dataclass(slots=True)
class Heard:
    """What came back, how long each answer's first bytes took, and what the process computed."""

    answers: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    first: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.answers / self.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.answers / self.cpu_seconds


class Failed(Exception):
    """An answer that was none; the message holds it."""


def run(load: Load, seconds: float, seed: int) -> Heard:
    """Ask for so long, and hear the last answers to their end. Blocks. **Raises:** Failed."""
    try:
        return asyncio.run(_run(load, seconds, seed))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


def texts(load: Load, count: int, seed: int) -> list[str]:
    """Return the answers to so many questions, asked one by one and not streamed."""
    return asyncio.run(_texts(load, count, seed))


def cpu_seconds(pid: int) -> float:
    """Return what all threads of a process have computed, in seconds of one core."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def _run(load: Load, seconds: float, seed: int) -> Heard:
    heard, begun, computed = Heard(), time.perf_counter(), cpu_seconds(load.pid)
    models = cycle(load.models)
    async with _session(load) as http, asyncio.TaskGroup() as clients:
        for number in range(load.clients):
            draw = random.Random(seed * 1000 + number)
            clients.create_task(_ask_on(http, load, models, draw, begun + seconds, heard))
    heard.seconds = time.perf_counter() - begun
    heard.cpu_seconds = cpu_seconds(load.pid) - computed
    return heard


async def _ask_on(
    http: aiohttp.ClientSession,
    load: Load,
    models: "cycle[str]",
    draw: random.Random,
    until: float,
    heard: Heard,
) -> None:
    while (asked := time.perf_counter()) < until:
        async with http.post(CHAT, json=_question(load, next(models), draw)) as response:
            if response.status != 200:
                raise Failed(await response.text())
            await response.content.readany()
            heard.first.append(time.perf_counter() - asked)
            async for _ in response.content.iter_any():
                pass
        heard.answers += 1


async def _texts(load: Load, count: int, seed: int) -> list[str]:
    draw, models, found = random.Random(seed), cycle(load.models), []
    async with _session(load) as http:
        for _ in range(count):
            body = {**_question(load, next(models), draw), "stream": False}
            async with http.post(CHAT, json=body) as response:
                if response.status != 200:
                    raise Failed(await response.text())
                found.append((await response.json())["choices"][0]["message"]["content"])
    return found


def _session(load: Load) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        load.url,
        headers={"authorization": f"Bearer {load.key}"},
        connector=aiohttp.TCPConnector(limit=load.clients),
        timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
    )


def _question(load: Load, model: str, draw: random.Random) -> dict[str, object]:
    text = " ".join(draw.choices(WORDS, k=WORDS_EACH))
    return {
        "model": model,
        "messages": [{"role": "user", "content": f"{draw.random()} {text}?"}],
        "max_completion_tokens": draw.randint(load.tokens // 2, load.tokens * 3 // 2),
        "temperature": 0,
        "stream": load.is_streamed,
    }
