"""A user of the Batch API over HTTP: uploads, creates, waits, reads what came out."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deploy.quickstart.adapters import zipped

ENDED = ("completed", "failed", "expired", "cancelled")
POLL_SECONDS = 0.1
WINDOW = "24h"


class BatchFailed(Exception):
    """The service refused, or a batch did not end as it should; the message says how."""


@dataclass(frozen=True, slots=True)
class Run:
    """A batch that has been completed. Seconds are from its creation to its end."""

    batch: dict[str, Any]
    upload_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True)
class BatchClient:
    """Batches of one organisation, whose key the client sends."""

    http: httpx.Client

    def run(self, source: Path) -> Run:
        """Upload a file and have all its lines answered. **Raises:** BatchFailed."""
        begun = time.perf_counter()
        file_id = self.upload(source)
        uploaded = time.perf_counter()
        batch = self.wait(self.create(file_id))
        ended = time.perf_counter()
        if batch["status"] != "completed":
            raise BatchFailed(f"the batch is {batch['status']}: {batch['errors']}")
        return Run(batch, uploaded - begun, ended - uploaded)

    def upload(self, source: Path) -> str:
        """Upload a batch's input; return the file's id."""
        with source.open("rb") as content:
            files = {"file": (source.name, content, "application/jsonl")}
            return str(self._post("/v1/files", data={"purpose": "batch"}, files=files)["id"])

    def create(self, file_id: str, url: str = "/v1/chat/completions") -> str:
        """Create a batch of an uploaded file; return its id."""
        body = {"input_file_id": file_id, "endpoint": url, "completion_window": WINDOW}
        return str(self._post("/v1/batches", json=body)["id"])

    def retrieve(self, id: str) -> dict[str, Any]:
        """Return the batch as it is now."""
        return _checked(self.http.get(f"/v1/batches/{id}"))

    def wait(self, id: str) -> dict[str, Any]:
        """Return the batch when it has ended, however it did."""
        while (batch := self.retrieve(id))["status"] not in ENDED:
            time.sleep(POLL_SECONDS)
        return batch

    def cancel(self, id: str) -> dict[str, Any]:
        """Cancel a batch and return it when it has ended."""
        self._post(f"/v1/batches/{id}/cancel")
        return self.wait(id)

    def lines(self, file_id: str) -> Iterator[bytes]:
        """Read an output or error file line by line."""
        content = self.http.get(f"/v1/files/{file_id}/content")
        content.raise_for_status()
        yield from content.content.splitlines()

    def register(self, directory: Path, base_model: str) -> str:
        """Upload and register an adapter; return its model id."""
        archive = zipped(directory)
        upload = {"file": (archive.name, archive.read_bytes(), "application/zip")}
        file = self._post("/v1/files", data={"purpose": "fine_tuning"}, files=upload)
        body = {
            "input_file_id": file["id"],
            "name": directory.name,
            "type": "lora",
            "base_model": base_model,
        }
        return str(self._post("/v1/fine_tunings", json=body)["data"]["fine_tuned_model"])

    def _post(self, path: str, **content: Any) -> dict[str, Any]:
        return _checked(self.http.post(path, **content))


def _checked(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        raise BatchFailed(f"{response.status_code} {response.text}")
    document: dict[str, Any] = response.json()
    return document
