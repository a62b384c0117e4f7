"""Clients that go away: the engine stops at once, nothing stays held, and all work is counted."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.e2e.openmetrics import Reading, read
from tests.e2e.tiny_adapters import client, register
from tests.fixtures.server import TINY, Server

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

SECONDS_TO_STOP = 2.0
WAVE = 40
"""At once: more than the engine runs, so that some wait in its queue, and no more than may."""
DROPS = 100
_numbers = itertools.count()

HELD = (
    ("vllm:num_requests_running", {"model_name": TINY}),
    ("vllm:num_requests_waiting", {"model_name": TINY}),
    ("lora_api_admitted_requests", {"model": TINY}),
    ("lora_api_admitted_prompt_tokens", {"model": TINY}),
    ("lora_api_adapters_leased", {"base_model": TINY}),
    ("lora_api_adapter_requests_running", {"base_model": TINY}),
    ("lora_api_adapter_requests_waiting", {"base_model": TINY}),
)


def chat(model: str, text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 250, "model": model}


def responses(model: str, text: str) -> dict[str, Any]:
    return {"input": text, "max_output_tokens": 250, "model": model}


def completions(model: str, text: str) -> dict[str, Any]:
    return {"prompt": text, "max_tokens": 250, "model": model}


ENDPOINTS = {"chat/completions": chat, "responses": responses, "completions": completions}
Body = Callable[[str, str], dict[str, Any]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {server.key('leaver')}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, timeout=60, limits=limits
    ) as http:
        await http.post("/v1/chat/completions", json=chat(TINY, "Be counted"))
        yield http


@pytest.fixture(scope="module")
def adapter(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    with client(server, "leaver") as http:
        return register(http, tmp_path_factory.mktemp("leaver"), seed=811)


@pytest.mark.parametrize(("path", "body"), ENDPOINTS.items(), ids=ENDPOINTS)
async def test_dropped_streams_and_calls_leave_nothing_running(
    server: Server, http: httpx.AsyncClient, adapter: str, path: str, body: Body
) -> None:
    wanted = DROPS if path == "chat/completions" else DROPS // 5
    dropped = {True: 0, False: 0}
    before = await asyncio.to_thread(read, server)
    while min(dropped.values()) < wanted:
        began = asyncio.Semaphore(0)
        kinds = [*itertools.product((TINY, adapter), (True, False), range(WAVE // 4))]
        asked = {
            asyncio.create_task(_ask(http, path, body(model, _text()), stream, began)): stream
            for model, stream, _ in kinds
        }
        async with asyncio.timeout(30):
            for _ in range(WAVE // 5):
                await began.acquire()
        # Now some of them run and the others wait.
        for task, stream in asked.items():
            dropped[stream] += task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        begun = monotonic()
        await _until(server, _is_idle)
        assert monotonic() - begun < SECONDS_TO_STOP
    after = await asyncio.to_thread(read, server)
    print(f"{dropped[True]} streams and {dropped[False]} calls dropped; {_work(before, after)}")
    answer = await http.post(f"/v1/{path}", json=body(TINY, _text()))
    assert answer.status_code == 200


async def test_tokens_of_streams_that_were_cut_are_counted(
    server: Server, http: httpx.AsyncClient, adapter: str
) -> None:
    before = await asyncio.to_thread(read, server)
    events = await asyncio.gather(
        *(_cut_short(http, model, events=3 + number % 7) for number, model in _models(adapter, 16))
    )
    await _until(server, _is_idle)
    after = await asyncio.to_thread(read, server)

    work = _work(before, after)
    print(f"{sum(events)} events seen; {work}")
    assert work["prompt"] == work["vllm prompt"] > 0
    assert sum(events) <= work["completion"] <= work["vllm completion"]
    # A token may come out of the engine and be thrown away while its client goes.
    assert work["vllm completion"] - work["completion"] <= 2 * len(events)


def _models(adapter: str, count: int) -> list[tuple[int, str]]:
    return [(number, adapter if number % 2 else TINY) for number in range(count)]


def _text() -> str:
    return f"Go on and on, {next(_numbers)}"


async def _ask(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], stream: bool, began: asyncio.Semaphore
) -> None:
    async with http.stream("POST", f"/v1/{path}", json={**body, "stream": stream}) as response:
        assert response.status_code == 200
        lines = response.aiter_lines()
        if stream:
            await anext(lines)
            began.release()
        async for _ in lines:
            pass


async def _cut_short(http: httpx.AsyncClient, model: str, events: int) -> int:
    """Leave a stream after so many pieces of text, and return how many there were."""
    body = {**chat(model, _text()), "stream": True}
    seen = 0
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                delta = json.loads(line.removeprefix("data: "))["choices"][0]["delta"]
                seen += bool(delta.get("content"))
            if seen == events:
                break
    return seen


async def _until(server: Server, is_true: Callable[[Reading], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_true(await asyncio.to_thread(read, server)):
            pass


def _is_idle(seen: Reading) -> bool:
    return not any(seen.total(name, **labels) for name, labels in HELD)


def _work(before: Reading, after: Reading) -> dict[str, float]:
    """Return the tokens that the service and vLLM have counted in the meantime."""

    def since(name: str, **labels: str) -> float:
        return after.total(name, **labels) - before.total(name, **labels)

    return {
        "prompt": since("lora_api_tokens_total", model=TINY, kind="prompt"),
        "vllm prompt": since("vllm:prompt_tokens_total", model_name=TINY),
        "completion": since("lora_api_tokens_total", model=TINY, kind="completion"),
        "vllm completion": since("vllm:generation_tokens_total", model_name=TINY),
    }
