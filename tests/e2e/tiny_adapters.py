"""Registers random adapters of the tiny model over HTTP, as a user would."""

from pathlib import Path

import httpx

from deploy.quickstart.adapters import zipped
from tests.fixtures.server import TINY, Server
from tests.fixtures.tiny_llama import write_adapter


def client(server: Server, organisation: str) -> httpx.Client:
    """Return a client with a new key of the organisation; to be closed."""
    headers = {"authorization": f"Bearer {server.key(organisation)}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=120)


def register(http: httpx.Client, room: Path, seed: int) -> str:
    """Upload and register the adapter of this seed, and return its model id."""
    name = f"tiny-{seed}"
    archive = zipped(write_adapter(room / name, seed))
    upload = {"file": (f"{name}.zip", archive.read_bytes(), "application/zip")}
    file = http.post("/v1/files", data={"purpose": "fine_tuning"}, files=upload).json()
    body = {"input_file_id": file["id"], "name": name, "type": "lora", "base_model": TINY}
    response = http.post("/v1/fine_tunings", json=body)
    assert response.status_code == 200, response.text
    model: str = response.json()["data"]["fine_tuned_model"]
    return model
