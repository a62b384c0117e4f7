"""Two replicas behind a plain load balancer are restarted, one after the other, under load."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from deploy.quickstart.ports import free_port
from tests.e2e.chat_streams import accumulated, chunks_of
from tests.e2e.test_production_backends import lora_api, production_settings
from tests.fixtures.caddy import running_caddy
from tests.fixtures.databases import Postgres
from tests.fixtures.redis import RedisServer
from tests.fixtures.seaweedfs import SeaweedFS
from tests.fixtures.server import TINY, Server, running_server, tiny_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

STREAMS = 50
TOKENS = 48
LINES = 40
BATCH_SECONDS = 120.0
STOP_SECONDS = 150.0
UNFINISHED = ("validating", "in_progress", "finalizing")
STOPPING = {
    # Longer than the balancer takes to see that a replica is not ready any more.
    "LORA_API_SERVER__NOTICE_SECONDS": "6",
    "LORA_API_SERVER__DRAIN_SECONDS": "60",
    # One replica alone takes all streams.
    "LORA_API_ADMISSION__QUEUE": "8",
}


@dataclass
class Replica:
    """One server process at a time, always on the same port."""

    models: list[dict[str, object]]
    room: Path
    settings: dict[str, str]
    port: int = field(default_factory=free_port)

    @contextmanager
    def running(self) -> Iterator[Server]:
        place = {"LORA_API_SERVER__PORT": str(self.port)}
        with running_server(self.models, self.room, **self.settings, **place) as server:
            yield server


class Clients:
    """Each asks for a stream, reads it to its end, and asks again."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._is_stopping = False
        self.answers: list[tuple[int, str]] = []

    @asynccontextmanager
    async def streaming(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for number in range(STREAMS):
                group.create_task(self._ask_on(number))
            yield
            self._is_stopping = True

    async def _ask_on(self, number: int) -> None:
        while not self._is_stopping:
            body = {
                "model": TINY,
                "messages": [{"role": "user", "content": f"Say something, {number}."}],
                "max_tokens": TOKENS,
                "stream": True,
            }
            response = await self._client.post("/v1/chat/completions", json=body)
            self.answers.append((response.status_code, response.text))


@pytest.fixture
async def settings(
    tmp_path: Path, postgres: Postgres, seaweedfs: SeaweedFS, redis: RedisServer
) -> AsyncIterator[dict[str, str]]:
    async with postgres.database("template1") as url:
        shared = production_settings(url, seaweedfs, redis, tmp_path / "plans.yaml")
        shared |= STOPPING | {"LORA_API_STORE__PREFIX": "rolling"}
        await asyncio.to_thread(lora_api, shared, "migrate")
        yield shared


async def test_a_rolling_restart_cuts_no_stream_and_loses_no_line_of_a_batch(
    tmp_path: Path, tiny_llama_directory: Path, settings: dict[str, str]
) -> None:
    models = [tiny_model(tiny_llama_directory)]
    first, second = (Replica(models, tmp_path / name, settings) for name in ("one", "two"))
    with ExitStack() as servers:

        async def start(replica: Replica) -> Server:
            return await asyncio.to_thread(servers.enter_context, replica.running())

        one, two = await asyncio.gather(start(first), start(second))
        headers = {"authorization": f"Bearer {one.key('acme')}"}
        places = [f"127.0.0.1:{each.port}" for each in (first, second)]
        async with (
            running_caddy(places) as url,
            httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as client,
        ):
            clients = Clients(client)
            async with clients.streaming():
                batch = await create_batch(client)
                assert await asyncio.to_thread(stopped, one) == -signal.SIGTERM
                restarted = await start(first)
                assert await asyncio.to_thread(stopped, two) == -signal.SIGTERM
                results = await batch_results(client, batch)
            assert restarted.pid != one.pid

    assert len(clients.answers) > 2 * STREAMS
    assert [text for status, text in clients.answers if status != 200] == []
    for _, text in clients.answers:
        assert accumulated(chunks_of(text))["finish_reason"] in ("length", "stop")
    assert sorted(results) == sorted(f"line-{number}" for number in range(LINES))


def stopped(server: Server) -> int:
    """Stop it as an orchestrator does; return the exit status."""
    server.process.send_signal(signal.SIGTERM)
    return server.process.wait(STOP_SECONDS)


async def create_batch(client: httpx.AsyncClient) -> str:
    lines = [
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": TINY,
                "messages": [{"role": "user", "content": f"Line {number}."}],
                "max_tokens": 8,
            },
        }
        for number in range(LINES)
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    upload = {"file": ("input.jsonl", content, "application/jsonl")}
    file = await client.post("/v1/files", data={"purpose": "batch"}, files=upload)
    body = {
        "input_file_id": file.json()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    created = await client.post("/v1/batches", json=body)
    assert created.status_code == 200, created.text
    id: str = created.json()["id"]
    return id


async def batch_results(client: httpx.AsyncClient, batch: str) -> list[str]:
    """Wait until the batch is done, and return the ids of its lines in the output file."""
    async with asyncio.timeout(BATCH_SECONDS):
        while True:
            found = (await client.get(f"/v1/batches/{batch}")).json()
            if found["status"] not in UNFINISHED:
                break
            await asyncio.sleep(0.2)
    assert found["status"] == "completed", found
    output = await client.get(f"/v1/files/{found['output_file_id']}/content")
    return [json.loads(line)["custom_id"] for line in output.text.splitlines()]
