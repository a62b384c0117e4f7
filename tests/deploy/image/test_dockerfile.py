"""The Dockerfile keeps hadolint's rules and says what the rest of the project says."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import PREFIX, Settings
from tests.deploy.image.context import is_sent
from tests.deploy.image.dockerfile import DOCKERFILE, ROOT, environment, instructions

HADOLINT = Path(sys.executable).with_name("hadolint")
WRITTEN = ("/var/lib/lora-api", "/tmp")
FOLDERS = {"HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "VLLM_CACHE_ROOT", "LORA_API_DATA_DIR"}


def test_hadolint_finds_nothing() -> None:
    found = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False)

    assert (found.stdout, found.returncode) == ("", 0)


def test_every_base_image_has_a_version_and_may_have_a_digest() -> None:
    stages = [line.split(" ") for line in instructions("FROM")]
    names = {stage[-1] for stage in stages}
    images = [stage[0] for stage in stages if stage[0] not in {*names, "${VARIANT}"}]

    assert images == ["python:3.11-slim-bookworm${PYTHON_DIGEST:+@${PYTHON_DIGEST}}"]


def test_both_variants_are_stages_and_have_a_lock() -> None:
    stages = {line.split(" ")[-1] for line in instructions("FROM")}

    assert {"cpu", "gpu"} < stages
    assert all((ROOT / "requirements" / f"{name}.txt").is_file() for name in ("cpu", "gpu"))


def test_the_labelled_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert f"VERSION={project['version']}" in instructions("ARG")
    assert 'licenses="Apache-2.0"' in " ".join(instructions("LABEL"))


def test_what_is_copied_reaches_the_builder() -> None:
    copies = [line.split(" ")[:-1] for line in instructions("COPY") if "--from" not in line]
    sources = [source.replace("${VARIANT}", "gpu") for line in copies for source in line]

    assert "deploy/catalogs" in sources
    assert [source for source in sources if not any(map(is_sent, _files(ROOT / source)))] == []


def test_only_what_the_image_needs_reaches_the_builder() -> None:
    assert is_sent("app/main.py")
    assert is_sent("deploy/quickstart/install.py")
    assert is_sent("deploy/catalogs/templates/smollm2-tools.jinja")
    unwanted = (".git/config", ".data/a", ".cache/b", "deploy/.env", "tests/c.py", ".venv/bin/d")
    assert not any(map(is_sent, unwanted))
    assert not is_sent("app/__pycache__/main.cpython-311.pyc")


def test_every_script_that_is_run_exists() -> None:
    scripts = re.findall(
        r"(?:deploy/image|/mnt(?:/deploy/image)?)/(\w+\.\w+)", DOCKERFILE.read_text()
    )

    assert {"environment.sh", "project.sh", "packages.sh", "user.sh", "preload.sh"} < set(scripts)
    assert all((ROOT / "deploy" / "image" / name).is_file() for name in scripts)


def test_signals_reach_the_server_and_nothing_runs_as_root() -> None:
    (entry,), (command,) = instructions("ENTRYPOINT"), instructions("CMD")

    assert json.loads(entry) == ["/usr/bin/tini", "--", "/opt/lora-api/bin/lora-api"]
    assert json.loads(command) == ["serve"]
    assert instructions("USER") == ["10001:10001"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]


def test_what_is_written_is_written_to_volumes() -> None:
    variables = environment()

    assert json.loads(*instructions("VOLUME")) == list(WRITTEN)
    caches = {name for name in variables if name.endswith(("_CACHE_DIR", "_CACHE_PATH"))}
    assert all(variables[name].startswith(WRITTEN) for name in FOLDERS | caches)


def test_every_setting_that_the_image_makes_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {name: value for name, value in environment().items() if name.startswith(PREFIX)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    made = Settings()

    assert (made.server.host, made.data_dir) == ("0.0.0.0", Path("/var/lib/lora-api"))
    assert made.catalog == Path("/etc/lora-api/catalog.yaml")
    assert instructions("EXPOSE") == [str(made.server.port)]


def _files(path: Path) -> Iterator[str]:
    found = path.rglob("*") if path.is_dir() else [path]
    return (str(each.relative_to(ROOT)) for each in found if each.is_file())
