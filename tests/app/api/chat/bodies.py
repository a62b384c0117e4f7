"""Request bodies of chat completions."""

import json
from typing import Any

MESSAGES = [{"role": "user", "content": "hi"}]


def chat_body(**fields: Any) -> dict[str, Any]:
    """Make a valid body, with some fields set or replaced."""
    return {"model": "tiny-base", "messages": MESSAGES, **fields}


def encode(document: object) -> bytes:
    """Write a body as JSON; lone surrogates come out as escapes."""
    return json.dumps(document).encode()
