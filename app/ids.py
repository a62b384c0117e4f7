"""Public identifiers: TypeIDs, a prefix and a UUIDv7 in Crockford base32 (sortable by time)."""

from typing import Literal

from typeid import TypeID
from typeid.errors import TypeIDException

Prefix = Literal[
    "file", "ft", "org", "req", "key", "batch", "batch_req", "resp", "msg", "fc", "rs", "dep"
]


def new_id(prefix: Prefix) -> str:
    """Make an id such as `file_01jh6x76wtemjr74t1fh0faj5t`."""
    return str(TypeID(prefix=prefix))


def made_at(id: str, prefix: Prefix) -> float | None:
    """Return when an id was made, in Unix seconds; None for a text that is no id of this kind."""
    try:
        parsed = TypeID.from_string(id)
    except TypeIDException:
        return None
    if parsed.prefix != prefix or parsed.uuid.version != 7:
        return None
    return (parsed.uuid.int >> 80) / 1000
