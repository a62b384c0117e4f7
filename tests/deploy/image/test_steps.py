"""The image's steps, run as the Dockerfile runs them, in directories of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.deploy.image.context import ROOT, copy_context

IMAGE = ROOT / "deploy" / "image"
TCMALLOC = "libtcmalloc_minimal.so.4"


def run(command: Sequence[str | Path], cwd: Path, **variables: str) -> str:
    """Run a step and return what it prints; what it says when it fails is the test's message."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHON": sys.executable}
    environment.pop("PYTHONPATH", None)
    done = _run(command, cwd, environment | variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _run(
    command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=900
    )


@pytest.mark.parametrize("name", sorted(path.name for path in IMAGE.glob("*.sh")))
def test_every_script_is_valid_shell_and_stops_at_errors(name: str) -> None:
    run(["sh", "-n", IMAGE / name], IMAGE)

    assert "\nset -eu\n" in (IMAGE / name).read_text()


def test_the_cpu_variant_has_the_allocator_and_the_gpu_variant_has_not() -> None:
    listed = {
        variant: run(["sh", "packages.sh", variant, "--list"], IMAGE).split()
        for variant in ("cpu", "gpu")
    }

    assert set(listed["cpu"]) - set(listed["gpu"]) == {"libtcmalloc-minimal4"}
    assert {"tini", "libnuma1", "g++"} <= set(listed["gpu"])


def test_an_unknown_variant_is_refused() -> None:
    refused = _run(["sh", "packages.sh", "tpu", "--list"], IMAGE, os.environ)

    assert refused.returncode == 2
    assert "'tpu'" in refused.stderr


def test_what_is_preloaded_is_linked_under_one_roof(tmp_path: Path) -> None:
    libraries, prefix = tmp_path / "usr" / "lib", tmp_path / "env"
    for path in (libraries / "x86_64-linux-gnu" / TCMALLOC, prefix / "lib" / "libiomp5.so"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"library")

    run(["sh", IMAGE / "preload.sh", prefix, libraries], tmp_path)

    links = {path.name: path.read_bytes() for path in (prefix / "preload").iterdir()}
    assert links == {TCMALLOC: b"library", "libiomp5.so": b"library"}
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    (preload,) = re.findall(r"LD_PRELOAD=(\S+)", dockerfile)
    assert {Path(each).name for each in preload.split(":")} == links.keys()


def test_a_library_that_is_missing_stops_the_build(tmp_path: Path) -> None:
    refused = _run(["sh", str(IMAGE / "preload.sh"), tmp_path, tmp_path], tmp_path, os.environ)

    assert refused.returncode == 1
    assert "a library to preload is missing" in refused.stderr


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_steps_make_an_environment_that_serves(tmp_path: Path) -> None:
    source, prefix, project = tmp_path / "src", tmp_path / "env", tmp_path / "project"
    copy_context(source)
    run(["sh", "deploy/image/environment.sh", prefix, "cpu"], source)
    run(["sh", "deploy/image/project.sh", prefix, project], source)
    shutil.copytree(project, prefix, dirs_exist_ok=True)

    assert "serve" in run([prefix / "bin" / "lora-api", "--help"], tmp_path)
    assert not (prefix / "bin" / "pip").exists()
    python = prefix / "bin" / "python"
    imported = "import app.engine.vllm_chat, app; print(app.__file__)"
    assert run([python, "-c", imported], tmp_path).strip().startswith(str(prefix))
    bill = run([python, source / "deploy/image/sbom.py", source / "requirements/cpu.txt"], tmp_path)
    assert len(json.loads(bill)["components"]) > 100
