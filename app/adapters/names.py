"""The public names of adapters: `ft:<base>:<org>/<name>-<12 hex>` and the alias without the hex.

A name never ends like a version suffix, so an id reads in exactly one way.
"""

import re
from typing import NamedTuple

from adapters_registry.types import Digest

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
VERSION_SUFFIX = re.compile(r"-[0-9a-f]{12}$")
FINE_TUNED = re.compile(
    r"ft:(?P<base>[^:]{1,255}):(?P<org>org_[a-z0-9]{26})/(?P<name>[a-z0-9-]{1,63})"
)
MAX_MODEL_ID = 512
NAME_RULE = (
    "must be 1 to 63 characters of a-z, 0-9 and '-', start and end with a letter or digit, and not "
    "end in '-' and 12 hexadecimal digits"
)


class Alias(NamedTuple):
    """The parts of `ft:<base_model>:<org_id>/<name>`."""

    base_model: str
    org_id: str
    name: str


def is_valid_name(name: str) -> bool:
    """Say whether an adapter may be called `name`."""
    return bool(NAME.fullmatch(name)) and not VERSION_SUFFIX.search(name)


def fine_tuned_model(alias: Alias, digest: Digest) -> str:
    """Return the immutable id of one version."""
    return f"ft:{alias.base_model}:{alias.org_id}/{alias.name}-{digest[:12]}"


def parse_alias(model: str) -> Alias | None:
    """Read an id that names no version; None for every other text."""
    match = FINE_TUNED.fullmatch(model)
    if match is None or not is_valid_name(match["name"]):
        return None
    return Alias(match["base"], match["org"], match["name"])
