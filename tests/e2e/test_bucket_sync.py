"""A training pipeline writes into the bucket of a running server; its owner only calls the API."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import boto3
import httpx
import pytest

from adapters_registry.artifacts import ARTIFACT_FILES
from tests.fixtures.seaweedfs import SeaweedFS
from tests.fixtures.server import TINY, Server, running_server, tiny_model
from tests.fixtures.tiny_llama import write_adapter

pytestmark = pytest.mark.engine

STORE_PREFIX = "synced"
SYNC_PREFIX = "pipelines/out"
MOST_SECONDS = 60.0

T = TypeVar("T")


class Pipeline:
    """Writes adapters of the organisation `acme`, one file after the other, as training runs do."""

    def __init__(self, seaweedfs: SeaweedFS, room: Path) -> None:
        self._client = boto3.client("s3", endpoint_url=seaweedfs.endpoint_url)
        self._bucket = seaweedfs.bucket
        self._room = room
        # Tells a bucket that was emptied from one that is not there.
        self._client.put_object(Bucket=self._bucket, Key=f"{STORE_PREFIX}/{SYNC_PREFIX}/README")

    def write(self, name: str, *, seed: int, rank: int = 8) -> None:
        directory = write_adapter(self._room / f"{name}-{seed}-{rank}", seed, rank)
        for file in reversed(ARTIFACT_FILES):
            self._client.upload_file(str(directory / file), self._bucket, _key(name, file))

    def remove(self, name: str) -> None:
        for file in ARTIFACT_FILES:
            self._client.delete_object(Bucket=self._bucket, Key=_key(name, file))


class Owner:
    """The organisation's member, who has an API key and no access to the bucket."""

    def __init__(self, server: Server) -> None:
        headers = {"authorization": f"Bearer {server.key('acme')}"}
        self._client = httpx.Client(base_url=server.url, headers=headers, timeout=60)

    def close(self) -> None:
        self._client.close()

    def find(self, name: str, status: str) -> dict[str, Any] | None:
        """Return what is listed first under the name with this status."""
        listed = self._client.get("/v1/fine_tunings", params={"name": name}).json()["data"]
        found: list[dict[str, Any]] = [one for one in listed if one["status"] == status]
        return found[0] if found else None

    def active(self, name: str) -> str | None:
        """Return the id of the version that the name's alias stands for."""
        found = self.find(name, "ready")
        return found["fine_tuned_model"] if found and found["active"] else None

    def ask(self, model: str) -> httpx.Response:
        messages = [{"role": "user", "content": "Say something."}]
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 16}
        return self._client.post("/v1/chat/completions", json=body)

    def answer(self, model: str) -> tuple[str, str]:
        """Return the id of what answered, and the answer."""
        response = self.ask(model)
        assert response.status_code == 200, response.text
        body = response.json()
        return body["model"], body["choices"][0]["message"]["content"]


def _key(name: str, file: str) -> str:
    return f"{STORE_PREFIX}/{SYNC_PREFIX}/acme/{TINY}/{name}/{file}"


def eventually(find: Callable[[], T | None]) -> T:
    """Return what is found in the end; nothing but asking tells when another process is done."""
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline:
        if (found := find()) is not None:
            return found
        time.sleep(0.1)
    pytest.fail("the sync did not follow in time")


@pytest.fixture(scope="module")
def synced(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path, seaweedfs: SeaweedFS
) -> Iterator[Server]:
    settings = {
        "LORA_API_STORE__KIND": "s3",
        "LORA_API_STORE__BUCKET": seaweedfs.bucket,
        "LORA_API_STORE__PREFIX": STORE_PREFIX,
        "LORA_API_STORE__ENDPOINT_URL": seaweedfs.endpoint_url,
        "LORA_API_STORE__REGION": "us-east-1",
        "LORA_API_SYNC__PREFIX": SYNC_PREFIX,
        "LORA_API_SYNC__INTERVAL_SECONDS": "1",
        **seaweedfs.environment,
    }
    room = tmp_path_factory.mktemp("synced")
    with running_server([tiny_model(tiny_llama_directory)], room, **settings) as server:
        yield server


@pytest.fixture
def pipeline(seaweedfs: SeaweedFS, tmp_path: Path) -> Pipeline:
    return Pipeline(seaweedfs, tmp_path)


@pytest.fixture
def owner(synced: Server) -> Iterator[Owner]:
    owner = Owner(synced)
    yield owner
    owner.close()


def test_an_adapter_in_the_bucket_lives_as_its_directory_does(
    pipeline: Pipeline, owner: Owner
) -> None:
    pipeline.write("mine", seed=1)
    first = eventually(lambda: owner.active("mine"))
    alias = first.rpartition("-")[0]
    assert owner.answer(alias) == owner.answer(first)
    assert owner.answer(alias)[1] != owner.answer(TINY)[1]

    old = owner.answer(first)
    pipeline.write("mine", seed=2)
    second = eventually(lambda: ((model := owner.active("mine")) != first and model) or None)
    assert owner.answer(alias) == owner.answer(second)
    assert owner.answer(second)[1] != old[1]
    assert owner.answer(first) == old

    pipeline.remove("mine")
    eventually(lambda: owner.ask(alias).status_code == 404 or None)
    assert owner.ask(first).status_code == owner.ask(second).status_code == 404
    assert owner.find("mine", "ready") is None


def test_a_broken_adapter_shows_its_verdict_until_it_is_repaired(
    synced: Server, pipeline: Pipeline, owner: Owner
) -> None:
    pipeline.write("fragile", seed=3, rank=4)
    failed = eventually(lambda: owner.find("fragile", "failed"))
    assert failed["fine_tuned_model"] is None
    assert failed["error"]["code"] == "rank_unsupported"
    assert failed["error"]["param"] == "r"
    assert failed["error"]["message"]

    pipeline.write("fragile", seed=3)
    model = eventually(lambda: owner.active("fragile"))
    assert owner.answer(model)
    assert owner.find("fragile", "failed") is None

    metrics = httpx.get(f"{synced.url}/metrics").text
    assert 'lora_api_bucket_sync_actions_total{outcome="refused"} 1.0' in metrics
    assert f'lora_api_bucket_adapters{{base_model="{TINY}",status="ready"}} 1.0' in metrics
