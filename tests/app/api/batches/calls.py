"""What the tests ask of the API, and what they look at in its answers."""

from typing import Any

import httpx

from app.batches.lines import CHAT


async def post(http: httpx.AsyncClient, file: str, **parts: Any) -> httpx.Response:
    headers = parts.pop("headers", {})
    body = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h", **parts}
    return await http.post("/batches", json=body, headers=headers)


async def made(http: httpx.AsyncClient, file: str, **parts: Any) -> dict[str, Any]:
    answer = await post(http, file, **parts)
    assert answer.status_code == 200, answer.text
    batch: dict[str, Any] = answer.json()
    return batch


async def shown(http: httpx.AsyncClient, batch_id: str) -> dict[str, Any]:
    batch: dict[str, Any] = (await http.get(f"/batches/{batch_id}")).json()
    return batch


def error_of(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error.get("code"), error.get("param")
