"""Two servers on one PostgreSQL and one S3 bucket, operated through the command line."""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.quickstart.adapters import zipped
from tests.fixtures.databases import Postgres
from tests.fixtures.redis import RedisServer
from tests.fixtures.seaweedfs import SeaweedFS
from tests.fixtures.server import LORA_API, TINY, Server, running_server, tiny_model
from tests.fixtures.tiny_llama import write_adapter

pytestmark = pytest.mark.engine

PREFIX = "production"
UPKEEP_SECONDS = 0.5
MOVES = 20
SWEEP_SECONDS = 60
FIRST_SEED = 100
"""Seed of the first round's adapter."""


REQUESTS_A_DAY = 5
PLANS = {
    "default": "endless",
    "plans": {"endless": {"models": {}}, "few": {"models": {"*": {"rpd": REQUESTS_A_DAY}}}},
}


@dataclass(frozen=True)
class Pair:
    """Two servers on the same database and bucket, and one key for both."""

    here: Server
    there: Server
    key: str
    ask_here: httpx.Client
    ask_there: httpx.Client


def production_settings(
    database_url: str, seaweedfs: SeaweedFS, redis: RedisServer, plans: Path
) -> dict[str, str]:
    plans.write_text(yaml.safe_dump(PLANS))
    return {
        "LORA_API_PLANS": str(plans),
        "LORA_API_RATE_LIMITS__STORAGE_URL": redis.url,
        "LORA_API_AUTH__SECRET": "not-a-real-secret-but-long-enough",
        "LORA_API_DATABASE__URL": database_url,
        "LORA_API_STORE__KIND": "s3",
        "LORA_API_STORE__BUCKET": seaweedfs.bucket,
        "LORA_API_STORE__PREFIX": PREFIX,
        "LORA_API_STORE__ENDPOINT_URL": seaweedfs.endpoint_url,
        "LORA_API_STORE__REGION": "us-east-1",
        "LORA_API_ADAPTERS__UPKEEP_SECONDS": str(UPKEEP_SECONDS),
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


def ask(client: httpx.Client, model: str) -> httpx.Response:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Say something."}],
        "temperature": 0,
        "max_tokens": 16,
    }
    return client.post("/v1/chat/completions", json=body)


def content(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


@pytest.fixture(scope="module")
async def pair(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_llama_directory: Path,
    postgres: Postgres,
    seaweedfs: SeaweedFS,
    redis: RedisServer,
) -> AsyncIterator[Pair]:
    room = tmp_path_factory.mktemp("pair")
    async with postgres.database("template1") as database_url:
        settings = production_settings(database_url, seaweedfs, redis, room / "plans.yaml")
        await asyncio.to_thread(lora_api, settings, "migrate")
        models = [tiny_model(tiny_llama_directory)]
        left = room / "here" / "data" / "work" / "left-by-a-crash"
        left.mkdir(parents=True)
        with ExitStack() as stack:
            here, there = [
                await asyncio.to_thread(
                    stack.enter_context, running_server(models, room / name, **settings)
                )
                for name in ("here", "there")
            ]
            key = here.key("acme")
            clients = [stack.enter_context(connected(server, key)) for server in (here, there)]
            yield Pair(here, there, key, *clients)


def test_an_adapter_pushed_to_one_server_answers_on_the_other_until_it_is_deleted(
    tmp_path: Path, pair: Pair
) -> None:
    here, there = pair.ask_here, pair.ask_there
    client = {"LORA_API_BASE_URL": pair.here.url, "LORA_API_KEY": pair.key}
    adapter = str(write_adapter(tmp_path / "adapter", seed=1))
    push = ("adapters", "push", adapter, "--name", "mine", "--base-model", TINY)

    pushed = lora_api(client, *push)

    assert content(ask(there, pushed)) == content(ask(here, pushed))
    assert content(ask(there, pushed)) != content(ask(there, TINY))
    assert 'adapter_loads_total{base_model="tiny-llama",tier="store"} 1.0' in metrics(there)
    assert "mine" in lora_api(client, "adapters", "list")

    lora_api({**client, "LORA_API_BASE_URL": pair.there.url}, "adapters", "delete", pushed)

    assert ask(here, pushed).status_code == 404
    assert ask(there, pushed).status_code == 404
    assert content(ask(here, TINY))
    assert lora_api(client, *push) == pushed
    assert content(ask(there, pushed)) == content(ask(here, pushed))


def test_each_of_a_hundred_registrations_and_deletions_holds_on_the_other_server_at_once(
    tmp_path: Path, pair: Pair
) -> None:
    for number in range(100):
        one, other = pair.ask_here, pair.ask_there
        if number % 2:
            one, other = other, one
        version = register(one, write_adapter(tmp_path / f"{number}", FIRST_SEED + number))

        assert_answered_by(ask(other, version["fine_tuned_model"]), version["digest"])

        delete(one, version["id"])

        assert ask(other, version["fine_tuned_model"]).status_code == 404
        assert ask(one, version["fine_tuned_model"]).status_code == 404


def test_an_alias_moved_on_one_server_has_moved_on_the_other(tmp_path: Path, pair: Pair) -> None:
    versions = [
        register(pair.ask_here, write_adapter(tmp_path / f"{seed}", seed), name="moving")
        for seed in (2, 3)
    ]
    for number in range(MOVES):
        version = versions[number % 2]

        post(pair.ask_here, f"/v1/fine_tunings/{version['id']}/activate")

        assert_answered_by(ask(pair.ask_there, version["alias"]), version["digest"])


def test_what_was_deleted_on_one_server_leaves_engine_and_disk_of_the_other(
    tmp_path: Path, pair: Pair
) -> None:
    version = register(pair.ask_here, write_adapter(tmp_path / "adapter", seed=4))
    entry = data(pair.there) / "cache" / version["digest"]
    assert_answered_by(ask(pair.ask_there, version["alias"]), version["digest"])
    assert entry.exists()

    delete(pair.ask_here, version["id"])

    # Unused for long enough, as the upkeep sees it.
    os.utime(entry, (0, 0))
    deadline = time.monotonic() + SWEEP_SECONDS
    while entry.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not entry.exists()
    assert 'swept_total{kind="replica"}' in metrics(pair.ask_there)


def test_what_a_crash_left_in_the_work_directory_is_gone_after_the_start(pair: Pair) -> None:
    assert list((data(pair.here) / "work").iterdir()) == []


def connected(server: Server, key: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=60)


def data(server: Server) -> Path:
    return Path(server.environment["LORA_API_DATA_DIR"])


def register(client: httpx.Client, adapter: Path, name: str = "round") -> dict[str, Any]:
    """Upload and register over HTTP; return the version."""
    files = {"file": ("adapter.zip", zipped(adapter).read_bytes(), "application/zip")}
    file = post(client, "/v1/files", data={"purpose": "fine_tuning"}, files=files)
    body = {"input_file_id": file["id"], "name": name, "base_model": TINY}
    version: dict[str, Any] = post(client, "/v1/fine_tunings", json=body)["data"]
    return version


def post(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    response = client.post(path, **body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def delete(client: httpx.Client, id: str) -> None:
    response = client.delete(f"/v1/fine_tunings/{id}")
    assert response.status_code == 200, response.text


def assert_answered_by(response: httpx.Response, digest: str) -> None:
    assert content(response)
    assert response.headers["x-adapter-digest"] == digest


def metrics(client: httpx.Client) -> str:
    return client.get("/metrics").text


def test_both_servers_count_against_one_budget_of_requests(pair: Pair) -> None:
    key = pair.here.key("frugal")
    lora_api(pair.here.environment, "organizations", "plan", "frugal", "few")
    with connected(pair.here, key) as here, connected(pair.there, key) as there:
        answers = [ask(client, TINY) for client in (here, there, there, here, there)]
        refused = [ask(client, TINY) for client in (here, there)]
    left = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert left == ["4", "3", "2", "1", "0"]
    assert [answer.status_code for answer in answers] == [200] * REQUESTS_A_DAY
    for refusal in refused:
        assert refusal.status_code == 429
        assert refusal.json()["error"]["code"] == "rate_limit_exceeded"
        assert "on requests per day (RPD): Limit 5, Used 5, Requested 1" in refusal.text
        assert int(refusal.headers["retry-after"]) >= 1


def test_other_organisations_have_budgets_of_their_own(pair: Pair) -> None:
    answer = ask(pair.ask_here, TINY)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
