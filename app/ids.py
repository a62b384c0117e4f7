"""Public identifiers: TypeIDs, a prefix and a UUIDv7 in Crockford base32 (sortable by time)."""

from typing import Literal

from typeid import TypeID

Prefix = Literal["file", "ft", "org", "req", "key", "batch", "resp", "msg"]


def new_id(prefix: Prefix) -> str:
    """Make an id such as `file_01jh6x76wtemjr74t1fh0faj5t`."""
    return str(TypeID(prefix=prefix))
