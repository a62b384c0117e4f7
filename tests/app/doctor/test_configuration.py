from pathlib import Path
from typing import Any

import pytest

from app.doctor import configuration
from tests.app.doctor.conftest import Described

POSTGRES = {"url": "postgresql+asyncpg://user@host/name"}
S3 = {"kind": "s3", "bucket": "bucket"}
SECRET = {"secret": "x" * 32}


@pytest.mark.parametrize(
    ("shared", "missing"),
    [
        ({"database": POSTGRES, "auth": SECRET}, "LORA_API_STORE__KIND"),
        ({"store": S3, "auth": SECRET}, "LORA_API_DATABASE__URL"),
        ({"database": POSTGRES, "store": S3}, "LORA_API_AUTH__SECRET"),
    ],
)
def test_what_replicas_need_in_common_is_told_where_it_is_missing(
    settings_with: Described, shared: dict[str, Any], missing: str
) -> None:
    (finding,) = configuration.of_sharing(settings_with(**shared))

    assert finding.level == "problem"
    assert missing in finding.text


def test_replicas_that_count_limits_alone_are_told(
    settings_with: Described, tmp_path: Path
) -> None:
    settings = settings_with(database=POSTGRES, store=S3, auth=SECRET, plans=tmp_path / "plans")

    (finding,) = configuration.of_sharing(settings)

    assert (finding.level, "RATE_LIMITS__STORAGE_URL" in finding.text) == ("warning", True)


def test_plans_that_cannot_be_read_are_told(settings_with: Described, tmp_path: Path) -> None:
    (finding,) = configuration.of_plans(settings_with(plans=tmp_path / "absent.yaml"))

    assert finding.level == "problem"


def test_a_model_without_files_is_told(settings_with: Described, tmp_path: Path) -> None:
    catalog, _ = configuration.read_catalog(settings_with())
    assert catalog is not None
    (tmp_path / "model" / "config.json").unlink()

    (finding,) = configuration.of_sources(catalog)

    assert finding.level == "problem"
    assert finding.text.startswith("one: ")
