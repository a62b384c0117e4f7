"""From a ZIP on disk to a model id, with the official Groq SDK."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from groq import Groq


@dataclass(frozen=True, slots=True)
class Registration:
    """An adapter the server knows. `is_new` is False where the server knew it already."""

    model: str
    is_new: bool
    seconds: float


def register(client: Groq, archive: Path, *, name: str, base_model: str) -> Registration:
    """Upload the ZIP and register it; content that is registered already is taken as it is."""
    known = {item["id"] for item in _get(client, "/v1/fine_tunings")["data"]}
    started = time.perf_counter()
    # The SDK's types lag behind Groq's documentation, which names the purpose "fine_tuning".
    file = client.files.create(file=archive, purpose=cast(Any, "fine_tuning"))
    body = {"input_file_id": str(file.id), "name": name, "type": "lora", "base_model": base_model}
    created = client.post("/v1/fine_tunings", cast_to=dict[str, Any], body=body)
    seconds = time.perf_counter() - started
    is_new = created["id"] not in known
    if not is_new:
        client.files.delete(body["input_file_id"])
    return Registration(created["data"]["fine_tuned_model"], is_new, seconds)


def _get(client: Groq, path: str) -> dict[str, Any]:
    return client.get(path, cast_to=dict[str, Any])
