"""A file that a data-only package brought: found through metadata, compared with a known digest.

No code of such a package is imported, and a file with other content than the one that was looked
into is refused.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

INSTALL = "install requirements/models.txt"


class ModelMissing(Exception):
    """A package with a model's files is not installed, or does not bring the expected content."""


@dataclass(frozen=True)
class PackagedFile:
    """One file of an installed package; `path` is relative to where packages are installed."""

    package: str
    path: str
    sha256: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return Path(self.path).name

    def verified(self) -> Path:
        """Return where the file lies, after reading all of it. **Raises:** ModelMissing."""
        try:
            file = Path(str(distribution(self.package).locate_file(self.path)))
        except PackageNotFoundError:
            raise ModelMissing(f"{self.package} is not installed; {INSTALL}") from None
        if not file.is_file():
            raise ModelMissing(f"{self.package} brings no {self.path}; {INSTALL}")
        with file.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != self.sha256:
                raise ModelMissing(f"{self.path} of {self.package} is not the known file")
        return file


def packaged(package: str, folder: str, digests: Mapping[str, str]) -> dict[str, PackagedFile]:
    """Return the files of a package's folder by their path in it; `digests` are their SHA-256."""
    return {path: PackagedFile(package, f"{folder}/{path}", digests[path]) for path in digests}


def copy(files: Mapping[str, PackagedFile], destination: Path) -> None:
    """Copy files into a directory, each to the path that names it. **Raises:** ModelMissing."""
    for path, file in files.items():
        target = destination / path
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file.verified(), target)
