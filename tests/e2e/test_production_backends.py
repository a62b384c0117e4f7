"""Two servers on one PostgreSQL and one S3 bucket, operated through the command line."""

import asyncio
import os
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.fixtures.databases import Postgres
from tests.fixtures.seaweedfs import SeaweedFS
from tests.fixtures.server import LORA_API, TINY, Server, running_server, tiny_model
from tests.fixtures.tiny_llama import write_adapter

pytestmark = pytest.mark.engine

PREFIX = "production"


def production_settings(database_url: str, seaweedfs: SeaweedFS) -> dict[str, str]:
    return {
        "LORA_API_AUTH__SECRET": "not-a-real-secret-but-long-enough",
        "LORA_API_DATABASE__URL": database_url,
        "LORA_API_STORE__KIND": "s3",
        "LORA_API_STORE__BUCKET": seaweedfs.bucket,
        "LORA_API_STORE__PREFIX": PREFIX,
        "LORA_API_STORE__ENDPOINT_URL": seaweedfs.endpoint_url,
        "LORA_API_STORE__REGION": "us-east-1",
        **seaweedfs.environment,
    }


def lora_api(environment: Mapping[str, str], *arguments: str) -> str:
    """Run the command line as an operator or a customer does; return what it prints."""
    done = subprocess.run(
        [LORA_API, *arguments],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def ask(server: Server, key: str, model: str) -> httpx.Response:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Say something."}],
        "temperature": 0,
        "max_tokens": 16,
    }
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def content(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


async def test_an_adapter_pushed_to_one_server_answers_on_the_other_until_it_is_deleted(
    tmp_path: Path, tiny_llama_directory: Path, postgres: Postgres, seaweedfs: SeaweedFS
) -> None:
    async with postgres.database("template1") as database_url:
        settings = production_settings(database_url, seaweedfs)
        await asyncio.to_thread(register_here_call_there, tmp_path, tiny_llama_directory, settings)


def register_here_call_there(room: Path, model: Path, settings: dict[str, str]) -> None:
    lora_api(settings, "migrate")
    with ExitStack() as stack:
        here, there = (
            stack.enter_context(running_server([tiny_model(model)], room / name, **settings))
            for name in ("here", "there")
        )
        key = here.key("acme")
        client = {"LORA_API_BASE_URL": here.url, "LORA_API_KEY": key}
        adapter = str(write_adapter(room / "adapter", seed=1))
        push = ("adapters", "push", adapter, "--name", "mine", "--base-model", TINY)

        pushed = lora_api(client, *push)

        assert content(ask(there, key, pushed)) == content(ask(here, key, pushed))
        assert content(ask(there, key, pushed)) != content(ask(there, key, TINY))
        assert 'adapter_loads_total{base_model="tiny-llama",tier="store"} 1.0' in metrics(there)
        assert "mine" in lora_api(client, "adapters", "list")

        lora_api({**client, "LORA_API_BASE_URL": there.url}, "adapters", "delete", pushed)

        assert ask(here, key, pushed).status_code == 404
        assert ask(there, key, pushed).status_code == 404
        assert content(ask(here, key, TINY))
        assert lora_api(client, *push) == pushed
        assert content(ask(there, key, pushed)) == content(ask(here, key, pushed))


def metrics(server: Server) -> str:
    return httpx.get(f"{server.url}/metrics").text
