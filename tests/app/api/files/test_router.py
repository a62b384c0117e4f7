"""The Files resource as the official SDKs and raw clients use it."""

from collections.abc import Callable
from pathlib import Path

import groq
import httpx
import openai
import pytest

from tests.app.api.files.uploading import HEADERS, multipart

BATCH = b'{"custom_id": "1"}\n'
ADAPTER = b"PK\x03\x04" + bytes(500_000)


async def upload(http: httpx.AsyncClient, name: str = "a.jsonl", content: bytes = BATCH) -> str:
    purpose = "batch" if name.endswith(".jsonl") else "fine_tuning"
    answer = await http.post("/files", data={"purpose": purpose}, files={"file": (name, content)})
    assert answer.status_code == 200, answer.text
    id: str = answer.json()["id"]
    return id


async def test_the_groq_sdk_lives_a_file_s_whole_life(groq_sdk: groq.AsyncGroq) -> None:
    created = await groq_sdk.files.create(file=("a.jsonl", BATCH), purpose="batch")
    assert (await groq_sdk.files.info(created.id or "")).filename == "a.jsonl"
    assert [file.id for file in (await groq_sdk.files.list()).data] == [created.id]
    assert await (await groq_sdk.files.content(created.id or "")).read() == BATCH
    assert (await groq_sdk.files.delete(created.id or "")).deleted
    with pytest.raises(groq.NotFoundError):
        await groq_sdk.files.info(created.id or "")


async def test_the_openai_sdk_pages_through_all_files_and_stops(
    http: httpx.AsyncClient, openai_sdk: openai.AsyncOpenAI
) -> None:
    ids = [await upload(http) for _ in range(5)]
    seen = [file.id async for file in openai_sdk.files.list(limit=2, order="asc", purpose="batch")]
    assert seen == ids


async def test_the_openai_sdk_is_told_what_it_may_not_send(
    openai_sdk: openai.AsyncOpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await openai_sdk.files.create(
            file=("a.jsonl", BATCH),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
    assert "property 'expires_after[anchor]' is unsupported" in caught.value.message


async def test_a_path_given_to_an_sdk_is_streamed(
    openai_sdk: openai.AsyncOpenAI, tmp_path: Path, leftovers: Callable[[], list[Path]]
) -> None:
    path = tmp_path / "adapter.zip"
    path.write_bytes(ADAPTER)
    created = await openai_sdk.files.create(file=path, purpose="fine_tuning")  # type: ignore[arg-type]
    assert (created.filename, created.bytes) == ("adapter.zip", len(ADAPTER))
    assert leftovers() == []


async def test_content_is_an_octet_stream_of_known_length_that_browsers_do_not_open(
    http: httpx.AsyncClient,
) -> None:
    id = await upload(http, "日本 .zip", ADAPTER)
    answer = await http.get(f"/files/{id}/content")
    assert answer.content == ADAPTER
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(ADAPTER))
    assert answer.headers["x-content-type-options"] == "nosniff"
    disposition = "attachment; filename=\"__ .zip\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC%20.zip"
    assert answer.headers["content-disposition"] == disposition


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("DELETE", ""), ("GET", "/content")])
async def test_another_organisation_sees_the_404_of_an_unknown_file(
    http: httpx.AsyncClient, other: httpx.AsyncClient, method: str, tail: str
) -> None:
    id = await upload(http)
    unknown = f"{id[:-4]}0000"
    foreign = await other.request(method, f"/files/{id}{tail}")
    absent = await other.request(method, f"/files/{unknown}{tail}")
    assert foreign.status_code == absent.status_code == 404
    assert foreign.text.replace(id, unknown) == absent.text
    assert (await http.get(f"/files/{id}/content")).content == BATCH


async def test_another_organisation_s_list_stays_empty(
    http: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    id = await upload(http)
    empty = {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}
    assert (await other.get("/files")).json() == empty
    assert (await other.get("/files", params={"after": id})).json() == empty


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "10001"},
        {"limit": "x"},
        {"order": "up"},
        {"purpose": "x"},
        {"after": "file_\0"},
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(
    http: httpx.AsyncClient, query: dict[str, str]
) -> None:
    answer = await http.get("/files", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(query))


@pytest.mark.parametrize("id", ["%00", "..%2F..%2Fsecret", "file_%ff", "x" * 5000])
async def test_a_malformed_id_is_a_404(http: httpx.AsyncClient, id: str) -> None:
    assert (await http.get(f"/files/{id}")).status_code == 404


async def test_a_json_body_is_refused_as_no_form(http: httpx.AsyncClient) -> None:
    answer = await http.post("/files", json={"file": "x", "purpose": "batch"})
    assert answer.status_code == 400


async def test_a_file_over_the_limit_is_refused_and_leaves_nothing(
    http: httpx.AsyncClient, leftovers: Callable[[], list[Path]]
) -> None:
    form = {"file": ("a.zip", b"PK" * (4 << 20))}
    answer = await http.post("/files", data={"purpose": "fine_tuning"}, files=form)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"
    assert leftovers() == []


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100000-", 100_000, len(ADAPTER)),
        ("bytes=-7", len(ADAPTER) - 7, len(ADAPTER)),
        ("bytes=499999-999999", 499_999, len(ADAPTER)),
    ],
)
async def test_a_range_of_the_content_is_exactly_these_bytes(
    http: httpx.AsyncClient, asked: str, start: int, end: int
) -> None:
    id = await upload(http, "a.zip", ADAPTER)
    answer = await http.get(f"/files/{id}/content", headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == ADAPTER[start:end]
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(ADAPTER)}"


async def test_a_range_that_cannot_be_given_is_a_416_with_the_size(
    http: httpx.AsyncClient,
) -> None:
    id = await upload(http)
    answer = await http.get(f"/files/{id}/content", headers={"range": "bytes=500-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(BATCH)}"
    assert answer.json()["error"]["code"] == "range_not_satisfiable"


async def test_content_without_a_range_says_that_ranges_may_be_asked_for(
    http: httpx.AsyncClient,
) -> None:
    id = await upload(http)
    answer = await http.get(f"/files/{id}/content", headers={"range": "items=0-1"})
    assert (answer.status_code, answer.content) == (200, BATCH)
    assert answer.headers["accept-ranges"] == "bytes"
    assert "content-range" not in answer.headers


async def test_cve_2025_62727_over_http_ten_thousand_ranges_are_refused(
    http: httpx.AsyncClient,
) -> None:
    id = await upload(http)
    ranges = "bytes=" + ",".join(f"{n}-{n}" for n in range(10_000))
    answer = await http.get(f"/files/{id}/content", headers={"range": ranges})
    assert answer.status_code == 416


async def test_a_client_that_leaves_within_the_file_leaves_nothing_behind(
    transport: httpx.ASGITransport, mine: str, leftovers: Callable[[], list[Path]]
) -> None:
    body = multipart(b"PK" + bytes(3 << 20), "a.zip", "fine_tuning")
    messages: list[dict[str, object]] = [
        {"type": "http.request", "body": body[: 2 << 20], "more_body": True},
        {"type": "http.disconnect"},
    ]
    headers = {**HEADERS, "authorization": f"Bearer {mine}"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/openai/v1/files",
        "raw_path": b"/openai/v1/files",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    begun = []

    async def receive() -> dict[str, object]:
        begun.append(len(leftovers()))
        return messages.pop(0)

    async def send(message: object) -> None:
        return None

    await transport.app(scope, receive, send)
    assert begun == [0, 1]
    assert leftovers() == []
