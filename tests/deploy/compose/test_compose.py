"""compose.yaml is valid, complete in itself, and opens nothing that it need not."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyCompose

from app.settings import PREFIX, Settings
from tests.deploy.compose.project import COMPOSE, GPU, ROOT, project, secrets, variables

REPLICAS = ("api-1", "api-2")
CONFINED = {"migrate", "api-1", "api-2", "balancer", "valkey", "prometheus", "grafana"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return project(COMPOSE, secrets())["services"]


def replicas(services: dict[str, Any]) -> list[dict[str, Any]]:
    return [services[name] for name in REPLICAS]


@pytest.mark.parametrize("path", [COMPOSE, GPU], ids=lambda path: path.name)
def test_the_file_is_what_the_compose_specification_says(path: Path) -> None:
    PyCompose.from_json(json.dumps(project(path, secrets(path))))


def test_the_settings_of_every_replica_are_settings(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for replica in (*replicas(services), services["migrate"]):
        for name, value in replica["environment"].items():
            monkeypatch.setenv(name, value)
        made = Settings()
        assert made.store.kind == "s3"
        assert made.auth.secret is not None
        assert made.database.url is not None
        assert made.rate_limits.storage_url is not None


def test_the_gpu_overlay_sets_settings_too(monkeypatch: pytest.MonkeyPatch) -> None:
    overlay = project(GPU, secrets(GPU))["services"]
    environment = overlay["api-1"]["environment"]
    ours = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)

    assert Settings().catalog.name == "groqcloud.yaml"
    assert overlay["api-1"]["deploy"] != overlay["api-2"]["deploy"]


def test_every_replica_reads_the_same_state(services: dict[str, Any]) -> None:
    first, second = replicas(services)
    differing = {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}

    assert differing == {"volumes"}
    assert first["volumes"][0].split(":")[0] != second["volumes"][0].split(":")[0]


def test_the_servers_named_in_urls_are_services(services: dict[str, Any]) -> None:
    environment = services["api-1"]["environment"]
    urls = [value for value in environment.values() if "://" in value]
    hosts = {re.sub(r".*://(.*@)?", "", url).split(":")[0] for url in urls}

    assert hosts == {"postgres", "seaweedfs", "valkey"}
    assert (
        environment["LORA_API_STORE__BUCKET"] == services["seaweedfs"]["environment"]["S3_BUCKET"]
    )


def test_every_file_that_is_mounted_is_in_the_repository(services: dict[str, Any]) -> None:
    mounts = [mount for service in services.values() for mount in service.get("volumes", ())]
    sources = {_source(mount) for mount in mounts} - project(COMPOSE, secrets())["volumes"].keys()

    assert len(sources) >= 7
    # Models are no part of the repository: `make models` makes them.
    missing = {each for each in sources if not (COMPOSE.parent / each).exists()}
    assert missing <= {"../.cache/models"}


def test_every_image_has_a_version(services: dict[str, Any]) -> None:
    project_version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    tags = {service["image"].partition(":")[2] for service in services.values()}

    assert f"{project_version}-cpu" in tags
    assert all(re.match(r"v?\d+\.\d+", tag) for tag in tags)


def test_only_three_ports_are_published_and_only_to_this_machine(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}

    assert ports.keys() == {"balancer", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for listed in ports.values() for port in listed)
    assert all(
        services[name]["networks"] == ["inside"] for name in ("postgres", "seaweedfs", "valkey")
    )
    assert project(COMPOSE, secrets())["networks"]["inside"] == {"internal": True}


def test_what_can_be_confined_is(services: dict[str, Any]) -> None:
    confined = {name for name, service in services.items() if service.get("read_only")}

    assert confined == CONFINED
    assert all(services[name]["cap_drop"] == ["ALL"] for name in confined)
    assert all("no-new-privileges:true" in each["security_opt"] for each in services.values())
    assert not any(service.get("privileged") for service in services.values())


def test_everything_but_migrate_is_watched_and_started_again(services: dict[str, Any]) -> None:
    lasting = {name: each for name, each in services.items() if name != "migrate"}

    # The replicas' check is the image's own.
    assert {name for name, each in lasting.items() if "healthcheck" not in each} == set(REPLICAS)
    assert {each["restart"] for each in lasting.values()} == {"unless-stopped"}


def test_replicas_wait_for_the_migration_and_may_finish_their_streams(
    services: dict[str, Any],
) -> None:
    for replica in replicas(services):
        assert replica["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        drain = float(replica["environment"]["LORA_API_SERVER__DRAIN_SECONDS"])
        assert _seconds(replica["stop_grace_period"]) >= drain + 15
        assert _seconds(services["balancer"]["stop_grace_period"]) >= drain


def test_a_secret_that_is_not_set_stops_compose_and_the_example_names_it() -> None:
    example = (ROOT / "deploy" / "compose" / ".env.example").read_text()
    given = dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
    offered = set(re.findall(r"^# (\w+)=", example, re.MULTILINE))

    assert given.keys() == variables(COMPOSE.read_text(), "?")
    assert offered == variables(COMPOSE.read_text(), "-")
    assert set(given.values()) == {""}


def test_no_secret_stands_in_the_file() -> None:
    text = COMPOSE.read_text()
    lines = [line for line in text.splitlines() if re.search(r"(PASSWORD|SECRET|KEY_ID)\w*:", line)]

    assert lines
    assert all(":?" in line for line in lines)


def _source(mount: str | dict[str, Any]) -> str:
    return mount["source"] if isinstance(mount, dict) else mount.split(":")[0]


def _seconds(duration: str) -> float:
    assert duration.endswith("s")
    return float(duration[:-1])
