"""What a listing of the bucket means, and what is to be done about it; no I/O.

Training pipelines write `<prefix>/<org>/<base model>/<name>/` with an adapter's two files, one
after the other, in any order, at any speed. A directory is acted upon only when two listings that
one process made show it unchanged: what is being written waits. Other files beside the two are
ignored. A pair that stays unchanged for so long is taken as it stands, so a pipeline that replaces
both files does so without a pause.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from adapters_registry.artifacts import ARTIFACT_FILES
from adapters_registry.types import ObjectInfo

HALF_WRITTEN = ""
"""The mark of a directory in which one of the two files is missing."""


class Place(NamedTuple):
    """The parts of a directory's path; `org` is an organisation's id or name."""

    org: str
    base_model: str
    name: str


@dataclass(frozen=True, slots=True)
class Directory:
    """One adapter directory as it was listed.

    `source` is its key without the closing slash. `mark` changes whenever one of the two files
    does, and is HALF_WRITTEN while one is missing.
    """

    source: str
    mark: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Take the directory's content, as of this mark, for the newest version."""

    source: str
    mark: str


@dataclass(frozen=True, slots=True)
class Retire:
    """Remove all that came from the directory, which is gone."""

    source: str


Action = Publish | Retire


def directories(listing: Iterable[ObjectInfo]) -> list[Directory]:
    """Find the directories that hold at least one of an adapter's two files, in key order."""
    found: defaultdict[str, dict[str, ObjectInfo]] = defaultdict(dict)
    for info in listing:
        source, _, file = info.key.rpartition("/")
        if file in ARTIFACT_FILES:
            found[source][file] = info
    return [
        Directory(source, _mark(files), sum(info.size_bytes for info in files.values()))
        for source, files in sorted(found.items())
    ]


def place_of(source: str, prefix: str) -> Place | None:
    """Read a source below `prefix`, which ends in `/`; None for a path that is no adapter's.

    A base model's id may contain slashes.
    """
    org, _, rest = source.removeprefix(prefix).partition("/")
    base_model, _, name = rest.rpartition("/")
    if not source.startswith(prefix) or not (org and base_model and name):
        return None
    return Place(org, base_model, name)


def plan(
    before: Mapping[str, str] | None, now: Mapping[str, str], applied: Mapping[str, str]
) -> list[Action]:
    """Return what there is to do, retirements first.

    `before` and `now` are the marks by source of two listings, made one after the other by the
    same process; `before` is None when there was none. `applied` has the mark that each source
    known to the database was last acted upon with. Two replicas do not share `before`, because
    their rounds may follow each other at once.
    """
    if before is None:
        return []
    settled = [s for s in sorted({*now, *applied}) if before.get(s) == now.get(s)]
    retired = [Retire(source) for source in settled if source not in now]
    written = [source for source in settled if now.get(source, HALF_WRITTEN) != HALF_WRITTEN]
    changed = [source for source in written if applied.get(source) != now[source]]
    return [*retired, *(Publish(source, now[source]) for source in changed)]


def _mark(files: Mapping[str, ObjectInfo]) -> str:
    if len(files) < len(ARTIFACT_FILES):
        return HALF_WRITTEN
    stamps = ((files[file].etag, files[file].size_bytes) for file in ARTIFACT_FILES)
    return sha256(repr(list(stamps)).encode()).hexdigest()
