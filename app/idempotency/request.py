"""What makes two creates the same request: an organisation, its key, and a fingerprint.

The fingerprint is over what the request means, not over its bytes, so the order of JSON properties
or a multipart boundary makes no difference.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Self

from app.idempotency.errors import invalid_key

KEY = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """One call to create something. `fingerprint` is a SHA-256 in hexadecimal."""

    org_id: str
    key: str | None
    fingerprint: str

    @classmethod
    def of(cls, org_id: str, key: str | None, route: str, *parts: object) -> Self:
        """Build it from the route, such as `POST /files`, and all that the client decides.

        The parts are values that JSON knows; the order of an object's properties does not count.
        """
        text = json.dumps([route, *parts], sort_keys=True)
        return cls(org_id, key, hashlib.sha256(text.encode()).hexdigest())


def checked_key(value: str) -> str:
    """Return a header's value as a key. **Raises:** ApiError 400."""
    key = value.strip(" \t")
    if not KEY.fullmatch(key):
        raise invalid_key()
    return key
