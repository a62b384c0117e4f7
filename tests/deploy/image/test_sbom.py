"""The bill of materials names all that the image holds, by version and digest."""

import shutil
from pathlib import Path

import pytest

from deploy.image import sbom

ROOT = Path(__file__).parents[3]
LOCK = ROOT / "requirements" / "cpu.txt"


def test_every_pin_of_the_lock_is_a_component_with_its_digest() -> None:
    components = list(sbom.python_packages(LOCK))

    pins = [line.split(" --hash=sha256:") for line in LOCK.read_text().splitlines()]
    assert [(f"{c['name']}=={c['version']}", c["hashes"][0]["content"]) for c in components] == [
        (pin, digest) for pin, digest in pins
    ]


def test_package_urls_are_quoted_and_unique() -> None:
    urls = [component["purl"] for component in sbom.python_packages(LOCK)]

    assert "pkg:pypi/torch@2.13.0%2Bcpu" in urls
    assert len(set(urls)) == len(urls)


def test_stated_licences_are_told() -> None:
    assert sbom.licences("fastapi") == {"licenses": [{"expression": "MIT"}]}
    assert sbom.licences("no-such-package") == {}


def test_a_line_without_a_digest_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "loose.txt"
    lock.write_text("fastapi==1.0\n")

    with pytest.raises(ValueError, match=r"loose\.txt: no version and digest in 'fastapi==1\.0'"):
        list(sbom.python_packages(lock))


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="dpkg is Debian's")
def test_the_document_holds_python_and_debian_packages() -> None:
    document = sbom.document(LOCK)

    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    own = document["metadata"]["component"]
    assert (own["type"], own["name"]) == ("application", "lora-inference-api")
    kinds = {component["purl"].split("/")[0] for component in document["components"]}
    assert kinds == {"pkg:pypi", "pkg:deb"}
