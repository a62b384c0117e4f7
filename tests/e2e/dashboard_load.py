"""Traffic that gives every panel of the dashboards something to show, save for faults."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.tiny_adapters import client, register
from tests.fixtures.server import LORA_API, TINY, Server

CHAT = "/v1/chat/completions"
ORGANIZATION = "busy"
FRUGAL = "frugal"
ADAPTERS = 8
"""More than the engine holds, so that some are always loaded anew."""
MORE_THAN_FIT = 24
BATCH_LINES = 60
PAUSE_SECONDS = 0.2
PLANS = {
    "default": "endless",
    "plans": {"endless": {"models": {}}, "few": {"models": {"*": {"rpd": 1}}}},
}


def settings(plans: Path) -> dict[str, str]:
    """Return settings under which the load is refused as it should be, and a bucket synced."""
    plans.write_text(json.dumps(PLANS))
    return {
        "LORA_API_PLANS": str(plans),
        "LORA_API_ADMISSION__QUEUE": "0",
        "LORA_API_SYNC__PREFIX": "synced",
        "LORA_API_SYNC__INTERVAL_SECONDS": "1",
    }


@contextmanager
def load(server: Server, room: Path) -> Iterator[list[str]]:
    """Ask the server again and again until the block ends; yields the adapters' model ids."""
    with ExitStack() as stack:
        http = stack.enter_context(client(server, ORGANIZATION))
        frugal = stack.enter_context(client(server, FRUGAL))
        _put_on_plan(server, FRUGAL, "few")
        adapters = [register(http, room, seed) for seed in range(ADAPTERS)]
        ended = threading.Event()
        pool = stack.enter_context(ThreadPoolExecutor(MORE_THAN_FIT))
        stack.callback(ended.set)
        future = pool.submit(_go_on, pool, http, frugal, [TINY, *adapters], ended)
        yield adapters
        ended.set()
        future.result()


def _put_on_plan(server: Server, organization: str, plan: str) -> None:
    command = [LORA_API, "organizations", "plan", organization, plan]
    environment = {**os.environ, **server.environment}
    subprocess.run(command, env=environment, check=True, capture_output=True)


def _go_on(
    pool: ThreadPoolExecutor,
    http: httpx.Client,
    frugal: httpx.Client,
    models: list[str],
    ended: threading.Event,
) -> None:
    for turn in count():
        if turn % 10 == 0:
            _batch(http)
            _more_than_fit(pool, http)
        for model in models:
            assert _ask(http, model) in (200, 503)
        _ask(frugal, TINY)
        if ended.wait(PAUSE_SECONDS):
            return


def _ask(http: httpx.Client, model: str, *, tokens: int = 8) -> int:
    body = _body(model, tokens)
    with http.stream("POST", CHAT, json={**body, "stream": True}) as response:
        for _ in response.iter_bytes():
            pass
    return response.status_code


def _more_than_fit(pool: ThreadPoolExecutor, http: httpx.Client) -> None:
    asked = [pool.submit(_ask, http, TINY, tokens=64) for _ in range(MORE_THAN_FIT - 1)]
    assert {future.result() for future in asked} <= {200, 503}


def _batch(http: httpx.Client) -> None:
    lines = [
        {"custom_id": str(number), "method": "POST", "url": CHAT, "body": _body(TINY, 4)}
        for number in range(BATCH_LINES)
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    uploaded = http.post(
        "/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"}
    )
    wanted = {
        "input_file_id": uploaded.raise_for_status().json()["id"],
        "endpoint": CHAT,
        "completion_window": "24h",
    }
    http.post("/v1/batches", json=wanted).raise_for_status()


def _body(model: str, tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Say something."}]
    return {"model": model, "messages": messages, "max_tokens": tokens}
