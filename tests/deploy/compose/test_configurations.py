"""What compose mounts fits together: the catalog, Prometheus, Grafana."""

import json
from pathlib import Path
from typing import Any

import yaml

from app.catalog import load_catalog
from deploy.quickstart.models import prepare_all
from deploy.quickstart.paths import MODELS
from tests.deploy.compose.project import COMPOSE, ROOT, project, secrets

DEPLOY = ROOT / "deploy"


def read(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


def services() -> dict[str, Any]:
    return project(COMPOSE, secrets())["services"]


def mounted(service: str, target: str) -> Path:
    """Return what lies at a path of a service's container."""
    mounts = [mount for mount in services()[service]["volumes"] if isinstance(mount, str)]
    (source,) = [each.split(":")[0] for each in mounts if each.split(":")[1] == target]
    return DEPLOY / source


def test_the_catalog_serves_models_that_make_models_makes(tmp_path: Path) -> None:
    prepare_all(MODELS)
    text = (DEPLOY / "compose" / "catalog.yaml").read_text()
    # The container's folders: beside the catalogs of the image, and the models at the root.
    (tmp_path / "compose").mkdir()
    (tmp_path / "catalogs").symlink_to(DEPLOY / "catalogs")
    catalog = tmp_path / "compose" / "catalog.yaml"
    catalog.write_text(text.replace("/models/", f"{MODELS}/"))

    served = {model.id: model for model in load_catalog(catalog).models}

    assert [model.task for model in served.values()] == ["chat", "embedding"]
    assert all(Path(model.source).parent == MODELS for model in served.values())


def test_the_catalog_finds_its_template_in_the_image() -> None:
    target = services()["api-1"]["environment"]["LORA_API_CATALOG"]
    template = read("compose/catalog.yaml")["models"][0]["chat"]["template"]

    assert (Path(target).parent / template).parts[:3] == ("/", "etc", "lora-api")
    assert (DEPLOY / "compose" / template).is_file()
    assert "COPY deploy/catalogs /etc/lora-api/catalogs" in (DEPLOY / "Dockerfile").read_text()


def test_prometheus_scrapes_every_replica() -> None:
    jobs = {job["job_name"]: job for job in read("prometheus/prometheus.yaml")["scrape_configs"]}

    replicas = [f"{name}:8000" for name in services() if name.startswith("api-")]
    assert jobs["lora-api"]["static_configs"][0]["targets"] == replicas


def test_prometheus_finds_its_rules() -> None:
    (pattern,) = read("prometheus/prometheus.yaml")["rule_files"]
    folder = mounted("prometheus", "/etc/prometheus/rules")

    assert list(folder.parent.glob(pattern))


def test_grafana_asks_that_prometheus() -> None:
    (source,) = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]

    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services()


def test_grafana_loads_the_dashboards() -> None:
    (provider,) = read("grafana/provisioning/dashboards/lora-api.yaml")["providers"]
    dashboards = mounted("grafana", provider["options"]["path"])

    boards = [json.loads(path.read_text()) for path in dashboards.glob("*.json")]
    assert boards
    assert all(board["title"] for board in boards)
