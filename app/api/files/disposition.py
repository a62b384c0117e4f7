"""The Content-Disposition header, for names that come from strangers."""

import re
from urllib.parse import quote

UNSAFE = re.compile(r"[^A-Za-z0-9._ -]")
ATTR_CHARACTERS = "!#$&+-.^_`|~"


def content_disposition(filename: str) -> str:
    """Return a header value that saves under `filename` and can hold nothing else.

    **Source:** RFC 6266 with RFC 8187: a plain approximation first, then the exact name.
    """
    plain = UNSAFE.sub("_", filename)
    exact = quote(filename, safe=ATTR_CHARACTERS)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"
