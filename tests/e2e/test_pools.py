"""Two pools, each with a model of its own, used through either with the official SDK."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from app.settings import PREFIX
from deploy.quickstart.ports import free_port
from tests.e2e.tiny_adapters import register
from tests.fixtures.databases import Postgres
from tests.fixtures.seaweedfs import SeaweedFS
from tests.fixtures.server import TINY, Server, running_server, tiny_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

HERE = "tiny-here"
"""The model of the pool that tests ask; the other pool has TINY."""
PATIENCE_SECONDS = 60.0
PROMPT: list[Any] = [{"role": "user", "content": "Say something."}]
GREEDY: dict[str, Any] = {"messages": PROMPT, "temperature": 0, "max_tokens": 12}


@dataclass(frozen=True)
class Pools:
    """Both pools, and a key of one organisation."""

    here: Server
    there: Server
    key: str

    def sdk(self, server: Server) -> openai.OpenAI:
        url = f"{server.url}/openai/v1"
        return openai.OpenAI(base_url=url, api_key=self.key, max_retries=0, timeout=60)

    def http(self, server: Server) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=server.url, headers=headers, timeout=60)


def settings(database_url: str, seaweedfs: SeaweedFS) -> dict[str, str]:
    return {
        f"{PREFIX}AUTH__SECRET": "not-a-real-secret-but-long-enough",
        f"{PREFIX}DATABASE__URL": database_url,
        f"{PREFIX}STORE__KIND": "s3",
        f"{PREFIX}STORE__BUCKET": seaweedfs.bucket,
        f"{PREFIX}STORE__PREFIX": "pools",
        f"{PREFIX}STORE__ENDPOINT_URL": seaweedfs.endpoint_url,
        f"{PREFIX}STORE__REGION": "us-east-1",
        f"{PREFIX}USAGE__FLUSH_SECONDS": "0.2",
        f"{PREFIX}BATCHES__POLL_SECONDS": "0.2",
        **seaweedfs.environment,
    }


def pool_settings(own_port: int, other_port: int, other_model: str) -> dict[str, str]:
    pools = [{"url": f"http://127.0.0.1:{other_port}", "models": [other_model]}]
    return {f"{PREFIX}SERVER__PORT": str(own_port), f"{PREFIX}POOLS": json.dumps(pools)}


@pytest.fixture(scope="module")
async def pools(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_llama_directory: Path,
    postgres: Postgres,
    migrated_postgres: str,
    seaweedfs: SeaweedFS,
) -> AsyncIterator[Pools]:
    room = tmp_path_factory.mktemp("pools")
    ports = free_port(), free_port()
    theirs = tiny_model(tiny_llama_directory)
    ours = {**theirs, "id": HERE}
    async with postgres.database(migrated_postgres) as database_url:
        shared = settings(database_url, seaweedfs)
        starts = [
            running_server([ours], room / "here", **shared, **pool_settings(*ports, TINY)),
            running_server([theirs], room / "there", **shared, **pool_settings(*ports[::-1], HERE)),
        ]
        with ExitStack() as stack:
            here, there = await asyncio.gather(
                *(asyncio.to_thread(stack.enter_context, start) for start in starts)
            )
            yield Pools(here, there, here.key("acme"))


@pytest.fixture(scope="module")
def sdk(pools: Pools) -> Iterator[openai.OpenAI]:
    with pools.sdk(pools.here) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def http(pools: Pools) -> Iterator[httpx.Client]:
    with pools.http(pools.here) as http:
        yield http


@pytest.fixture(scope="module")
def adapter(http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An adapter of the other pool's model, uploaded and registered at this one."""
    return register(http, tmp_path_factory.mktemp("adapter"), seed=7)


def content(sdk: openai.OpenAI, model: str) -> str | None:
    return sdk.chat.completions.create(model=model, **GREEDY).choices[0].message.content


def streamed(sdk: openai.OpenAI, model: str) -> str:
    chunks = sdk.chat.completions.create(model=model, stream=True, **GREEDY)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def until(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    return seen


def test_a_model_of_the_other_pool_answers_whole_and_as_a_stream(
    pools: Pools, sdk: openai.OpenAI
) -> None:
    with pools.sdk(pools.there) as direct:
        expected = content(direct, TINY)
        assert content(sdk, TINY) == streamed(sdk, TINY) == expected
        assert content(direct, HERE) == content(sdk, HERE) == expected  # of the same weights


def test_answers_carry_the_id_that_the_serving_pool_logs(pools: Pools, sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.with_raw_response.create(model=TINY, **GREEDY)
    id = answer.headers["x-request-id"]
    assert f'"request_id": "{id}"' in pools.there.log.read_text()
    assert f'"answered_as": "{id}"' in pools.here.log.read_text()
    assert pools.key not in pools.here.log.read_text()


def test_an_adapter_of_the_other_pools_model_is_registered_and_answers(
    pools: Pools, sdk: openai.OpenAI, adapter: str
) -> None:
    alias = adapter.rpartition("-")[0]
    with pools.sdk(pools.there) as direct:
        expected = content(direct, adapter)
        assert expected != content(direct, TINY)
    assert content(sdk, adapter) == content(sdk, alias) == streamed(sdk, adapter) == expected
    assert sdk.models.retrieve(adapter).id == adapter


def test_models_are_those_of_both_pools(pools: Pools, sdk: openai.OpenAI, adapter: str) -> None:
    listed = [model.id for model in sdk.models.list()]
    assert listed == [HERE, TINY, adapter]
    with pools.sdk(pools.there) as direct:
        assert [model.id for model in direct.models.list()] == [TINY, HERE, adapter]
    for id in listed:
        assert sdk.models.retrieve(id).model_dump()["active"] is True
    with pytest.raises(openai.PermissionDeniedError):
        sdk.models.delete(TINY)


def test_a_wrong_key_is_refused_where_it_comes_in(pools: Pools) -> None:
    forwarded = pools.here.log.read_text().count("request forwarded")
    with (
        pools.sdk(pools.here).with_options(api_key="gsk_wrong") as stranger,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        content(stranger, TINY)
    assert refused.value.code == "invalid_api_key"
    assert pools.here.log.read_text().count("request forwarded") == forwarded


def test_what_no_pool_serves_is_unknown(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        content(sdk, "no-such-model")
    assert unknown.value.code == "model_not_found"


def test_a_batch_may_ask_models_of_both_pools(sdk: openai.OpenAI, adapter: str) -> None:
    models = [HERE, TINY, adapter, "no-such-model"] * 5
    lines = [
        {
            "custom_id": f"{n} {model}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, **GREEDY},
        }
        for n, model in enumerate(models)
    ]
    written = "\n".join(map(json.dumps, lines)).encode()
    file = sdk.files.create(file=("lines.jsonl", written), purpose="batch")
    batch = sdk.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    done = until(lambda: sdk.batches.retrieve(batch.id), lambda seen: seen.status == "completed")
    assert done.request_counts.model_dump() == {"total": 20, "completed": 15, "failed": 5}
    answered = results(sdk, done.output_file_id)
    assert answered.keys() == {
        line["custom_id"] for line in lines if line["body"]["model"] != "no-such-model"
    }
    for id, body in answered.items():
        assert body["model"] == id.partition(" ")[2]
    assert len(results(sdk, done.error_file_id)) == 5


def results(sdk: openai.OpenAI, file_id: str) -> dict[str, Any]:
    lines = map(json.loads, sdk.files.content(file_id).text.splitlines())
    return {line["custom_id"]: line["response"]["body"] for line in lines}


def test_what_is_passed_on_is_counted_once(pools: Pools) -> None:
    key = pools.here.key("metered")
    metered = Pools(pools.here, pools.there, key)
    told: Counter[str] = Counter()
    with metered.sdk(pools.here) as sdk, metered.http(pools.here) as http:
        for model in (TINY, TINY, HERE):
            usage = sdk.chat.completions.create(model=model, **GREEDY).usage
            assert usage is not None
            told += Counter(requests=1, prompt=usage.prompt_tokens, out=usage.completion_tokens)
        streamed(sdk, TINY)
        told += Counter(requests=1, prompt=usage.prompt_tokens, out=usage.completion_tokens)
        groups = until(
            lambda: http.get("/v1/usage", params={"group_by": "model"}).json()["data"],
            lambda seen: sum(group["requests"] for group in seen) >= told["requests"],
        )
    assert {group["model"]: group["requests"] for group in groups} == {TINY: 3, HERE: 1}
    assert sum(group["prompt_tokens"] for group in groups) == told["prompt"]
    assert sum(group["completion_tokens"] for group in groups) == told["out"]


def test_an_adapter_of_the_other_pool_is_deleted_from_here(
    pools: Pools, http: httpx.Client, sdk: openai.OpenAI, tmp_path: Path
) -> None:
    model = register(http, tmp_path, seed=8)
    assert content(sdk, model)
    assert sdk.models.delete(model).deleted
    for server in (pools.here, pools.there):
        with pools.sdk(server) as client, pytest.raises(openai.NotFoundError):
            content(client, model)


def test_a_pool_that_is_gone_takes_no_other_with_it(
    pools: Pools, sdk: openai.OpenAI, http: httpx.Client, adapter: str
) -> None:
    pools.there.stop()
    for model in (TINY, adapter):
        with pytest.raises(openai.InternalServerError) as refused:
            content(sdk, model)
        assert refused.value.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) > 0
        assert refused.value.body == {
            "message": "The service is temporarily unavailable.",
            "type": "internal_server_error",
        }
    active = {model.id: model.model_dump()["active"] for model in sdk.models.list()}
    assert active == {HERE: True, TINY: False, adapter: False}
    assert content(sdk, HERE)
    pool = pools.there.url.partition("://")[2]
    counted = f'lora_api_forwarded_requests_total{{outcome="unreachable",pool="{pool}"}} 2.0'
    assert counted in http.get("/metrics").text
