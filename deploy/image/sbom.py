"""Writes the image's bill of materials, CycloneDX 1.6 in JSON, to standard output.

Python packages and their digests come from the lock, licences from what is installed, Debian
packages from dpkg. The order is fixed and nothing is dated: one image, one document.
Source: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

PROJECT = "lora-inference-api"
PIN = re.compile(r"^(?P<name>[^=\s]+)==(?P<version>\S+) --hash=sha256:(?P<digest>[0-9a-f]{64})$")
DPKG = ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${Architecture}\\n"]

Component = dict[str, Any]


def document(lock: Path) -> dict[str, Any]:
    """Return the whole bill of materials of an environment that `lock` was installed into."""
    own = component("pypi", PROJECT, version(PROJECT)) | {"type": "application"}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own | licences(PROJECT)},
        "components": [*python_packages(lock), *debian_packages()],
    }


def python_packages(lock: Path) -> Iterator[Component]:
    """Yield every package of the lock, with the digest of the file that was installed.

    **Raises:** ValueError for a line that pins nothing.
    """
    for line in lock.read_text().splitlines():
        if (pin := PIN.match(line)) is None:
            raise ValueError(f"{lock.name}: no version and digest in {line!r}")
        hashes = {"hashes": [{"alg": "SHA-256", "content": pin["digest"]}]}
        yield component("pypi", pin["name"], pin["version"]) | hashes | licences(pin["name"])


def debian_packages() -> Iterator[Component]:
    """Yield every Debian package of the machine."""
    listed = subprocess.run(DPKG, check=True, capture_output=True, text=True).stdout
    for line in sorted(listed.splitlines()):
        name, release, architecture = line.split(" ")
        yield component("deb/debian", name, release, f"?arch={architecture}")


def component(kind: str, name: str, release: str, qualifiers: str = "") -> Component:
    """Return one library under its package URL."""
    url = f"pkg:{kind}/{quote(name, safe='')}@{quote(release, safe='')}{qualifiers}"
    return {"type": "library", "bom-ref": url, "name": name, "version": release, "purl": url}


def licences(name: str) -> Component:
    """Return the licence that an installed package states, if it states one by identifier."""
    try:
        stated = distribution(name).metadata.get("License-Expression")
    except PackageNotFoundError:
        stated = None
    return {"licenses": [{"expression": stated}]} if stated else {}


if __name__ == "__main__":
    json.dump(document(Path(sys.argv[1])), sys.stdout, indent=1)
