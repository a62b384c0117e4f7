"""What `lora-api batches` asks of a server; every call may be lost and is then made again."""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx

from app.cli.http_client import answer, upload
from app.cli.patience import Patience

Batch = Mapping[str, Any]
"""A batch as the server tells it."""

RESOURCE = "/v1/batches"
CALL_SECONDS = 60.0
"""How long an answer may take; a create under a key that is in use is held for half of it."""
CHUNK_BYTES = 1 << 16


class BatchClient:
    """Batches and their files on one server. **Raises:** typer.Exit 1, after saying why."""

    def __init__(self, client: httpx.Client, patience: Patience) -> None:
        self._client = client
        self._patience = patience

    def upload(self, path: Path) -> str:
        """Upload an input file under a key of its own; return its id."""
        filename = path.name if path.name.lower().endswith(".jsonl") else f"{path.name}.jsonl"
        key = _new_key()
        with path.open("rb") as file:

            def send() -> httpx.Response:
                file.seek(0)
                return upload(self._client, file, filename, purpose="batch", headers=key)

            return str(answer(self._patience.ask(send))["id"])

    def create(self, input_file_id: str, endpoint: str, window: str) -> Batch:
        """Create a batch, under a key of its own."""
        body = {
            "input_file_id": input_file_id,
            "endpoint": endpoint,
            "completion_window": window,
        }
        return self._ask("POST", RESOURCE, json=body, headers=_new_key())

    def get(self, id: str) -> Batch:
        """Return the batch as it is now."""
        return self._ask("GET", _path(id))

    def cancel(self, id: str) -> Batch:
        """Have a batch end as it is."""
        return self._ask("POST", f"{_path(id)}/cancel")

    def newest(self, count: int) -> list[Batch]:
        """Return the newest batches."""
        found: list[Batch] = []
        more: dict[str, str] = {}
        while len(found) < count:
            params = {"limit": str(min(100, count - len(found))), **more}
            page = self._ask("GET", RESOURCE, params=params)
            found += page["data"]
            if not page["has_more"]:
                break
            more = {"after": page["data"][-1]["id"]}
        return found

    def download(self, file_id: str, target: Path) -> None:
        """Write a file, which gets its name when it is whole."""
        path = f"/v1/files/{quote(file_id, safe='')}/content"
        with replacing(target) as file:

            def receive() -> httpx.Response:
                return _received(self._client, path, file)

            response = self._patience.ask(receive)
            if not response.is_success:
                answer(response)

    def delete_file(self, file_id: str) -> None:
        """Delete a file that nothing was made of; what fails is left to the files' retention."""
        try:
            self._client.delete(f"/v1/files/{quote(file_id, safe='')}", timeout=CALL_SECONDS)
        except httpx.TransportError as error:
            self._patience.tell(f"{file_id} stays on the server: {error}")

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        def send() -> httpx.Response:
            return self._client.request(method, path, timeout=CALL_SECONDS, **more)

        return answer(self._patience.ask(send))


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Give a file that takes the target's place at the end, and goes where that is not reached."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _received(client: httpx.Client, path: str, file: BinaryIO) -> httpx.Response:
    """Add to the file what it lacks, and return the answer; that of a failure has its body."""
    offset = file.seek(0, os.SEEK_END)
    # What is compressed on the way cannot be continued at an offset.
    headers = {"accept-encoding": "identity"} | ({"range": f"bytes={offset}-"} if offset else {})
    with client.stream("GET", path, headers=headers, timeout=CALL_SECONDS) as response:
        if not response.is_success:
            response.read()
            return response
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            file.truncate(file.seek(0))
        for chunk in response.iter_bytes(CHUNK_BYTES):
            file.write(chunk)
    return response


def _new_key() -> dict[str, str]:
    return {"idempotency-key": uuid.uuid4().hex}


def _path(id: str) -> str:
    return f"{RESOURCE}/{quote(id, safe='')}"
