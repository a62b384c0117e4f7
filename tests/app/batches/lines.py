"""Batch input as clients write it."""

import json
from typing import Any

from app.batches.lines import CHAT

ORG = "org_" + "0" * 26


def body(model: str = "base", text: str = "Hi") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def request(custom_id: str = "a", **parts: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body(), **parts}


def written(custom_id: str = "a", **parts: Any) -> bytes:
    return json.dumps(request(custom_id, **parts)).encode()


def file_of(*lines: bytes) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def adapter(name: str, base: str = "base") -> str:
    return f"ft:{base}:{ORG}/{name}"
