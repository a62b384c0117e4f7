"""What pods are told: settings that the service knows, values that arrive, secrets by reference."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from app.catalog import load_catalog
from app.limits.plans import load_plans
from app.settings import PREFIX, Settings
from tests.helm.environment import SECRETS, settings_of
from tests.helm.release import VALUES, Pod, Release, rendered, sample


def _known(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield every setting's variable, and whether it is secret."""
    for name, field in model.model_fields.items():
        kind, variable = field.annotation, prefix + name.upper()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _known(kind, variable + "__")
        else:
            yield variable, kind == SecretStr | None


KNOWN = dict(_known(Settings, PREFIX))


def test_every_variable_of_the_service_is_one_of_its_settings(release: Release) -> None:
    for pod in release.pods():
        assert {name for name in pod.env if name.startswith(PREFIX)} <= KNOWN.keys()


@pytest.mark.parametrize("name", VALUES)
def test_the_service_takes_the_settings(name: str) -> None:
    for pod in sample(name).servers().values():
        settings = settings_of(pod)
        assert settings.server.host == "0.0.0.0"
        assert settings.server.port == pod.container["ports"][0]["containerPort"] == 8000
        assert settings.data_dir == Path("/var/lib/lora-api")
        assert settings.catalog == Path("/etc/lora-api/catalog.yaml")


def test_values_arrive_as_they_were_said() -> None:
    settings = settings_of(sample("production").servers()["chat"])
    assert settings.adapters.cache_bytes == 64424509440
    assert settings.admission.batch_share == 0.5
    assert (settings.store.kind, settings.store.bucket) == ("s3", "lora-production")
    assert settings.store.region == "eu-central-1"
    assert settings.server.drain_seconds == 300
    assert settings.plans == Path("/etc/lora-api/plans.yaml")
    assert settings.rate_limits.storage_url is not None


def test_lists_and_flags_arrive_too() -> None:
    values = {"settings": {"fetch": {"allowed_hosts": ["a.example", "b.example:8443"]}}}
    values["settings"]["batches"] = {"enabled": False}
    settings = settings_of(rendered("minimal", values).servers()["small"])
    assert settings.fetch.allowed_hosts == ("a.example", "b.example:8443")
    assert settings.batches.enabled is False


def test_a_pool_s_own_settings_come_first() -> None:
    settings = settings_of(sample("gpu-pools").servers()["speech"])
    assert settings.limits.audio_decoders == 4


def test_secrets_are_only_referred_to(release: Release) -> None:
    assert not release.all("Secret")
    for pod in release.pods():
        for name, variable in pod.env.items():
            if KNOWN.get(name) or name.startswith(("AWS_SECRET", "AWS_ACCESS", "HF_TOKEN")):
                assert "value" not in variable
                assert variable["valueFrom"]["secretKeyRef"].keys() == {"name", "key"}


def test_every_secret_setting_is_one_that_the_chart_refers_to() -> None:
    assert {name for name, is_secret in KNOWN.items() if is_secret} == SECRETS.keys()


def test_every_secret_that_is_named_reaches_the_server() -> None:
    env = sample("gpu-pools").servers()["chat"].env
    assert {name: _source(variable) for name, variable in env.items() if _source(variable)} == {
        "LORA_API_DATABASE__URL": ("lora-database", "url"),
        "LORA_API_AUTH__SECRET": ("lora-auth", "secret"),
        "LORA_API_RATE_LIMITS__STORAGE_URL": ("lora-redis", "url"),
        "AWS_ACCESS_KEY_ID": ("lora-s3", "AWS_ACCESS_KEY_ID"),
        "AWS_SECRET_ACCESS_KEY": ("lora-s3", "AWS_SECRET_ACCESS_KEY"),
    }


def _source(variable: Mapping) -> tuple[str, str] | None:
    reference = variable.get("valueFrom", {}).get("secretKeyRef")
    return reference and (reference["name"], reference["key"])


def test_the_service_reads_the_catalogs(release: Release, tmp_path: Path) -> None:
    for pool, pod in release.servers().items():
        catalog = load_catalog(_config(release, pod, tmp_path / pool) / "catalog.yaml")
        assert catalog.models


def test_large_numbers_in_a_catalog_stay_whole(tmp_path: Path) -> None:
    release = sample("production")
    directory = _config(release, release.servers()["chat"], tmp_path)
    (model,) = load_catalog(directory / "catalog.yaml").models
    assert repr(model.vllm["kv_cache_memory_bytes"]) == "42949672960"


def test_files_lie_beside_the_catalog_that_names_them(tmp_path: Path) -> None:
    release = sample("gpu-pools")
    directory = _config(release, release.servers()["vectors"], tmp_path)
    models = {model.id: model for model in load_catalog(directory / "catalog.yaml").models}
    template = models["qwen3-reranker-4b"].reranking.template
    assert template is not None
    assert "Document: {{ document }}" in template.read_text()


def test_the_service_reads_the_plans(tmp_path: Path) -> None:
    release = sample("production")
    directory = _config(release, release.servers()["chat"], tmp_path)
    plans = load_plans(directory / "plans.yaml")
    assert plans.plans["free"].limits_of("any").rpm == 30


def _config(release: Release, pod: Pod, directory: Path) -> Path:
    """Write the pod's ConfigMap as it is mounted, and return where."""
    (volume,) = (v for v in pod.spec["volumes"] if v["name"] == "config")
    directory.mkdir(exist_ok=True)
    for name, content in release.all("ConfigMap")[volume["configMap"]["name"]]["data"].items():
        (directory / name).write_text(content)
    return directory
