"""What a listing of the bucket means, and what is to be done about it; no I/O.

Training pipelines write `<prefix>/<org>/<base model>/<name>/` with an adapter's two files, one
after the other, in any order, at any speed. A directory is acted upon only when two listings that
one process made show it unchanged: what is being written waits. A new configuration beside the
weights that are served already waits for longer, because large weights may be on their way. Other
files beside the two are ignored.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from adapters_registry.artifacts import ARTIFACT_FILES
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, ObjectInfo

UNFIT = ""
"""The mark of a directory that is not to be published now: half-written, say."""
CONFIG_ALONE_SECONDS = 600.0
"""How long a new configuration waits for its weights."""
STAMP_CHARACTERS = 32


class Place(NamedTuple):
    """The parts of a directory's path; `org` is an organisation's id or name."""

    org: str
    base_model: str
    name: str


@dataclass(frozen=True, slots=True)
class Directory:
    """One adapter directory as it was listed.

    `source` is its key without the closing slash. `mark` changes whenever one of the two files
    does, tells which, and is UNFIT while one is missing.
    """

    source: str
    mark: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A directory's mark, and since when (s, monotonic) one process has seen it so."""

    mark: str
    since: float


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


def look(
    before: Mapping[str, Seen] | None, marks: Mapping[str, str], *, at: float
) -> dict[str, Seen]:
    """Join a listing's marks by source with what the same process had seen before."""
    earlier = before or {}
    return {
        source: seen if (seen := earlier.get(source)) and seen.mark == mark else Seen(mark, at)
        for source, mark in marks.items()
    }


def plan(
    before: Mapping[str, Seen] | None,
    now: Mapping[str, Seen],
    applied: Mapping[str, str],
    *,
    at: float,
) -> list[Action]:
    """Return what there is to do, retirements first.

    `before` and `now` are two looks, made one after the other by the same process; `before` is None
    when there was none. `now` has every listed source, so that none is retired whose directory is
    there. `applied` has the mark that each source known to the database was last acted upon with.
    Two replicas do not share looks, because their rounds may follow each other at once.
    """
    if before is None:
        return []
    settled = [s for s in sorted({*now, *applied}) if before.get(s) == now.get(s)]
    retired = [Retire(source) for source in settled if source not in now]
    listed = [source for source in settled if source in now]
    changed = [s for s in listed if _is_whole_change(applied.get(s), now[s], at)]
    return [*retired, *(Publish(source, now[source].mark) for source in changed)]


def _is_whole_change(applied: str | None, seen: Seen, at: float) -> bool:
    if seen.mark in (UNFIT, applied):
        return False
    if not applied or seen.mark[STAMP_CHARACTERS:] != applied[STAMP_CHARACTERS:]:
        # New weights wait for no more: the small file that may follow is quickly written.
        return True
    return at - seen.since >= CONFIG_ALONE_SECONDS


def _mark(files: Mapping[str, ObjectInfo]) -> str:
    if len(files) < len(ARTIFACT_FILES):
        return UNFIT
    return _stamp(files[CONFIG_FILE]) + _stamp(files[WEIGHTS_FILE])


def _stamp(info: ObjectInfo) -> str:
    text = repr((info.etag, info.size_bytes))
    return sha256(text.encode()).hexdigest()[:STAMP_CHARACTERS]
