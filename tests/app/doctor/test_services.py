"""Looks at real services: as they should be, and with what goes wrong with them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import huggingface_hub.constants
import pytest

from app.catalog import Catalog
from app.doctor import services
from app.doctor.findings import Finding
from app.settings import Settings
from app.storage.opening import make_store
from tests.app.doctor.conftest import Described
from tests.fixtures.databases import Postgres
from tests.fixtures.seaweedfs import SeaweedFS

MODEL = "somebody/model"


def in_bucket(seaweedfs: SeaweedFS, bucket: str) -> dict[str, str]:
    place = {"endpoint_url": seaweedfs.endpoint_url, "region": "us-east-1"}
    return {"kind": "s3", "bucket": bucket, **place}


async def told(findings: AsyncIterator[Finding]) -> Finding:
    (finding,) = [each async for each in findings]
    return finding


async def test_a_database_that_was_never_migrated_is_told_what_to_run(
    settings_with: Described, blank_database_url: str
) -> None:
    finding = await told(services.of_database(settings_with(database={"url": blank_database_url})))

    assert finding.level == "problem"
    assert "lora-api migrate" in finding.text


async def test_a_database_that_does_not_answer_is_told_without_its_password(
    settings_with: Described, closed_port: int
) -> None:
    url = f"postgresql+asyncpg://user:hunter2@127.0.0.1:{closed_port}/name"

    finding = await told(services.of_database(settings_with(database={"url": url})))

    assert finding.level == "problem"
    assert "LORA_API_DATABASE__URL" in finding.text
    assert "hunter2" not in finding.text


async def test_a_database_that_is_not_there_is_told(
    settings_with: Described, postgres: Postgres
) -> None:
    url = postgres.url("no_such_database")

    finding = await told(services.of_database(settings_with(database={"url": url})))

    assert finding.level == "problem"


async def test_a_store_is_left_as_it_was(settings_with: Described, seaweedfs: SeaweedFS) -> None:
    settings = settings_with(store=in_bucket(seaweedfs, seaweedfs.bucket))

    finding = await told(services.of_store(settings))

    assert finding.level == "ok"
    assert await _kept(settings) == []


async def test_a_store_that_refuses_is_told_with_its_own_code(
    settings_with: Described, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    settings = settings_with(store=in_bucket(seaweedfs, seaweedfs.bucket))

    finding = await told(services.of_store(settings))

    assert finding.level == "problem"
    assert "cannot write an object" in finding.text
    assert "SignatureDoesNotMatch" in finding.text


async def test_a_server_of_limits_that_is_not_there_is_told_without_its_address(
    settings_with: Described, closed_port: int
) -> None:
    url = f"redis://user:hunter2@127.0.0.1:{closed_port}/0"

    finding = await told(services.of_counters(settings_with(rate_limits={"storage_url": url})))

    assert finding.level == "problem"
    assert "hunter2" not in finding.text


@pytest.mark.parametrize(
    ("status", "code", "level", "text"),
    [
        (200, "", "ok", "is on the hub"),
        (401, "RepoNotFound", "problem", "set HF_TOKEN"),
        (403, "GatedRepo", "problem", "accept its licence"),
        (500, "", "problem", "cannot be looked up"),
    ],
)
async def test_a_model_of_the_hub_is_looked_up(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, level: str, text: str
) -> None:
    async with hub(status, code) as address:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        finding = await told(services.of_hub(_catalog()))

    assert finding.level == level
    assert text in finding.text
    assert MODEL in finding.text


@asynccontextmanager
async def hub(status: int, code: str) -> AsyncIterator[str]:
    """A hub that answers everything so."""
    body = b'{"id": "somebody/model", "siblings": []}'
    head = (
        f"HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nx-error-code: {code}\r\nconnection: close\r\n\r\n"
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _catalog() -> Catalog:
    model = {"id": "one", "task": "embedding", "source": MODEL, "context_window": 64}
    return Catalog.model_validate({"models": [model]})


async def _kept(settings: Settings) -> list[str]:
    store = make_store(settings)
    try:
        return [found.key async for found in store.list(services.PREFIX)]
    finally:
        await store.close()


@asynccontextmanager
async def answering(status: int) -> AsyncIterator[str]:
    """Listen on loopback, and answer every request with a status; yield the URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d Status\r\ncontent-length: 0\r\n\r\n" % status)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(("status", "level"), [(200, "ok"), (404, "problem")])
async def test_another_pool_is_asked_for_its_health(
    settings_with: Described, status: int, level: str
) -> None:
    async with answering(status) as url:
        pools = [{"url": url, "models": ["another"]}]
        finding = await told(services.of_pools(settings_with(pools=pools)))

    assert finding.level == level
    assert url in finding.text


async def test_a_pool_that_is_away_is_told(settings_with: Described, closed_port: int) -> None:
    pools = [{"url": f"http://127.0.0.1:{closed_port}", "models": ["another"]}]

    finding = await told(services.of_pools(settings_with(pools=pools)))

    assert finding.level == "problem"
    assert "LORA_API_POOLS" in finding.text
