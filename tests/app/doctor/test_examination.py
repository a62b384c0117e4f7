"""`lora-api doctor` on whole deployments."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import main
from app.doctor.examination import examine
from tests.app.doctor.conftest import Described, levels
from tests.fixtures.redis import RedisServer
from tests.fixtures.seaweedfs import SeaweedFS

SECRET = "x" * 32


async def test_an_embedded_deployment_has_nothing_to_mend(settings_with: Described) -> None:
    findings = [each async for each in examine(settings_with())]

    assert set(levels(findings).values()) == {"ok"}
    told = {each.part for each in findings}
    assert told == {"engine", "catalog", "models", "plans", "replicas", "disk", "database", "store"}


async def test_a_shared_deployment_has_nothing_to_mend(
    settings_with: Described, database_url: str, seaweedfs: SeaweedFS, redis: RedisServer
) -> None:
    store = {
        "kind": "s3",
        "bucket": seaweedfs.bucket,
        "endpoint_url": seaweedfs.endpoint_url,
        "region": "us-east-1",
    }
    settings = settings_with(
        database={"url": database_url},
        store=store,
        auth={"secret": SECRET},
        rate_limits={"storage_url": redis.url},
    )

    findings = [each async for each in examine(settings)]

    assert set(levels(findings).values()) == {"ok"}
    assert {"rate limits", "database", "store"} <= {each.part for each in findings}


def test_the_command_tells_what_is_wrong_without_secrets_and_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closed_port: int
) -> None:
    url = f"postgresql+asyncpg://user:hunter2@127.0.0.1:{closed_port}/name"
    monkeypatch.setenv("LORA_API_CATALOG", str(tmp_path / "absent.yaml"))
    monkeypatch.setenv("LORA_API_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LORA_API_DATABASE__URL", url)

    result = CliRunner().invoke(main, ["doctor"])

    assert result.exit_code == 1
    assert "problem  catalog" in result.output
    assert "problem  database" in result.output
    assert "LORA_API_AUTH__SECRET" in result.output
    assert "4 to mend" in result.output
    assert "hunter2" not in result.output


def test_the_command_succeeds_where_all_is_well(
    monkeypatch: pytest.MonkeyPatch, settings_with: Described
) -> None:
    settings = settings_with()
    monkeypatch.setenv("LORA_API_CATALOG", str(settings.catalog))
    monkeypatch.setenv("LORA_API_DATA_DIR", str(settings.data_dir))

    result = CliRunner().invoke(main, ["doctor"])

    assert result.exit_code == 0
    assert "problem" not in result.output
