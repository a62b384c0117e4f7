"""Batches over HTTP: what is accepted, what is shown, and to whom."""

import json
from typing import Any

import groq
import httpx
import openai
import pytest

from app.batches.lines import CHAT, URLS
from app.batches.types import STATUSES, UNFINISHED
from app.db.engine import Database
from app.ids import new_id
from tests.app.api.batches.calls import error_of, made, post, shown
from tests.app.api.batches.conftest import POOR, client_of
from tests.app.batches.rows import add_chunks, add_file, set_batch

TIMES = (
    *("in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at"),
    *("cancelling_at", "cancelled_at"),
)


async def test_a_new_batch_is_shown_as_groq_shows_it(http: httpx.AsyncClient, file: str) -> None:
    batch = await made(http, file)
    assert batch["id"].startswith("batch_")
    assert batch["expires_at"] == batch["created_at"] + 86_400
    assert batch == {
        "id": batch["id"],
        "object": "batch",
        "endpoint": CHAT,
        "errors": None,
        "input_file_id": file,
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": batch["created_at"],
        "expires_at": batch["expires_at"],
        **dict.fromkeys(TIMES),
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": None,
    }
    assert await shown(http, batch["id"]) == batch


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("prefix", ["", "/openai"])
async def test_every_endpoint_is_accepted_and_shown_without_groqs_prefix(
    http: httpx.AsyncClient, file: str, url: str, prefix: str
) -> None:
    assert (await made(http, file, endpoint=prefix + url))["endpoint"] == url


@pytest.mark.parametrize(("window", "hours"), [("24h", 24), ("1d", 24), ("100h", 100), ("7d", 168)])
async def test_the_window_is_shown_as_it_was_written(
    http: httpx.AsyncClient, file: str, window: str, hours: int
) -> None:
    batch = await made(http, file, completion_window=window)
    assert batch["completion_window"] == window
    assert batch["expires_at"] - batch["created_at"] == hours * 3600


async def test_metadata_comes_back_as_it_was(http: httpx.AsyncClient, file: str) -> None:
    metadata = {"a" * 64: "b" * 512, "é\u0000": "\U0001f600", "": ""}
    batch = await made(http, file, metadata=metadata)
    assert batch["metadata"] == (await shown(http, batch["id"]))["metadata"] == metadata
    assert (await made(http, file, metadata={}))["metadata"] == {}


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ({"endpoint": "/v1/audio/speech"}, "endpoint"),
        ({"endpoint": "/openai/openai" + CHAT}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"completion_window": "23h"}, "completion_window"),
        ({"completion_window": "169h"}, "completion_window"),
        ({"completion_window": "8d"}, "completion_window"),
        ({"completion_window": "1w"}, "completion_window"),
        ({"completion_window": 24}, "completion_window"),
        ({"completion_window": "२४h"}, "completion_window"),
        ({"input_file_id": 7}, "input_file_id"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": ["a"]}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3600}}, None),
    ],
)
async def test_what_cannot_be_followed_is_a_400_that_names_it(
    http: httpx.AsyncClient, file: str, parts: dict[str, Any], param: str | None
) -> None:
    assert error_of(await post(http, file, **parts)) == (400, None, param)


async def test_a_key_of_metadata_has_64_characters_at_most(
    http: httpx.AsyncClient, file: str
) -> None:
    assert (await post(http, file, metadata={"x" * 65: ""})).status_code == 400


async def test_a_file_of_another_purpose_is_no_input(
    http: httpx.AsyncClient, database: Database, mine: str
) -> None:
    for purpose in ("fine_tuning", "batch_output"):
        answer = await post(http, await add_file(database, mine, purpose=purpose))
        assert error_of(answer) == (400, None, "input_file_id")


async def test_a_file_of_another_organisation_is_as_unknown_as_any(
    http: httpx.AsyncClient, database: Database, theirs: str
) -> None:
    foreign, unknown = await add_file(database, theirs), new_id("file")
    answers = [await post(http, id) for id in (foreign, unknown, "file_\0", "x" * 5000)]
    assert [error_of(answer) for answer in answers] == [(404, "not_found", "id")] * 4
    told = [
        answer.text.replace(id, "ID")
        for answer, id in zip(answers[:2], [foreign, unknown], strict=True)
    ]
    assert told[0] == told[1]


async def test_a_batch_of_another_organisation_is_as_unknown_as_any(
    http: httpx.AsyncClient, other: httpx.AsyncClient, file: str
) -> None:
    batch, unknown = (await made(http, file))["id"], new_id("batch")
    for path in ("/batches/{}", "/batches/{}/cancel"):
        method = "POST" if path.endswith("cancel") else "GET"
        told = {
            (await other.request(method, path.format(id))).text.replace(id, "ID")
            for id in (batch, unknown)
        }
        assert len(told) == 1
        answer = await other.request(method, path.format("batch_%00"))
        assert error_of(answer) == (404, "not_found", "id")
    assert (await shown(http, batch))["status"] == "validating"
    assert (await other.get("/batches", params={"id": batch})).json()["data"] == []
    assert (await other.get("/batches")).json()["data"] == []


async def test_a_plan_without_batches_may_look_but_not_create(
    mine: str, transport: httpx.ASGITransport, file: str
) -> None:
    async with client_of(f"{mine}/{POOR}", transport) as poor:
        answer = await post(poor, file)
        assert error_of(answer) == (403, "not_available_for_plan", None)
        assert (await poor.get("/batches")).status_code == 200


class TestCounts:
    """How far a batch is."""

    async def test_while_it_runs_they_are_sums_over_its_chunks(
        self, http: httpx.AsyncClient, database: Database, mine: str, file: str
    ) -> None:
        batches = [(await made(http, file))["id"] for _ in range(3)]
        await set_batch(database, batches[0], status="in_progress", total=99)
        await add_chunks(database, mine, batches[0], (10, 4, 1), (20, 0, 0), (5, 5, 0))
        await set_batch(database, batches[1], status="cancelling")
        await add_chunks(database, mine, batches[1], (7, 1, 2))

        page = (await http.get("/batches")).json()["data"]
        counts = [tuple(batch["request_counts"].values()) for batch in page]
        assert counts == [(0, 0, 0), (7, 1, 2), (35, 9, 1)]
        alone = await shown(http, batches[0])
        assert alone["request_counts"] == page[2]["request_counts"]

    @pytest.mark.parametrize("status", sorted(set(STATUSES) - set(UNFINISHED)))
    async def test_once_it_has_ended_they_stand(
        self, http: httpx.AsyncClient, database: Database, mine: str, file: str, status: str
    ) -> None:
        batch = (await made(http, file))["id"]
        await set_batch(database, batch, status=status, total=9, completed=7, failed=2)
        counts = (await shown(http, batch))["request_counts"]
        assert counts == {"total": 9, "completed": 7, "failed": 2}


@pytest.mark.parametrize("status", STATUSES)
async def test_result_files_are_shown_once_the_batch_has_ended(
    http: httpx.AsyncClient, database: Database, file: str, status: str
) -> None:
    batch = (await made(http, file))["id"]
    output, error = new_id("file"), new_id("file")
    await set_batch(database, batch, status=status, output_file_id=output, error_file_id=error)
    found = await shown(http, batch)
    named = (None, None) if status in UNFINISHED else (output, error)
    assert (found["output_file_id"], found["error_file_id"]) == named


async def test_errors_are_a_list_in_an_object(
    http: httpx.AsyncClient, database: Database, file: str, groq_sdk: groq.AsyncGroq
) -> None:
    batch = (await made(http, file))["id"]
    errors = [
        {"code": "invalid_method", "message": "m", "param": "method", "line": 4},
        {"code": "empty_file", "message": "m", "param": None, "line": None},
    ]
    await set_batch(database, batch, status="failed", errors=json.dumps(errors), failed_at=9)
    assert (await shown(http, batch))["errors"] == {"object": "list", "data": errors}
    found = (await groq_sdk.batches.retrieve(batch)).errors
    assert found is not None
    assert found.data is not None
    assert (found.data[0].line, found.data[1].line) == (4, None)


class TestCancel:
    """Batches that are not to go on."""

    @pytest.mark.parametrize("status", ["validating", "in_progress"])
    async def test_it_is_cancelling_from_then_on_and_again_is_the_same(
        self, http: httpx.AsyncClient, database: Database, file: str, status: str
    ) -> None:
        batch = await made(http, file)
        await set_batch(database, batch["id"], status=status)
        answers = [await http.post(f"/batches/{batch['id']}/cancel") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].content == answers[1].content
        found = answers[0].json()
        assert found["status"] == "cancelling"
        assert found["cancelling_at"] >= batch["created_at"]
        assert await shown(http, batch["id"]) == found

    @pytest.mark.parametrize(
        "status", ["finalizing", "completed", "failed", "expired", "cancelled"]
    )
    async def test_one_that_ends_or_has_ended_is_a_409_that_sdks_do_not_repeat(
        self, http: httpx.AsyncClient, database: Database, file: str, status: str
    ) -> None:
        batch = (await made(http, file))["id"]
        await set_batch(database, batch, status=status)
        answer = await http.post(f"/batches/{batch}/cancel")
        assert error_of(answer) == (409, "batch_not_cancellable", None)
        assert f"`{status}`" in answer.json()["error"]["message"]
        assert answer.headers["x-should-retry"] == "false"
        assert (await shown(http, batch))["status"] == status

    async def test_both_sdks_cancel(
        self, groq_sdk: groq.AsyncGroq, openai_sdk: openai.AsyncOpenAI, file: str
    ) -> None:
        batch = await groq_sdk.batches.create(
            input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert (await groq_sdk.batches.cancel(batch.id)).status == "cancelling"
        assert (await openai_sdk.batches.cancel(batch.id)).status == "cancelling"


async def test_both_sdks_create_and_retrieve(
    groq_sdk: groq.AsyncGroq, openai_sdk: openai.AsyncOpenAI, file: str
) -> None:
    made = await openai_sdk.batches.create(
        input_file_id=file,
        endpoint="/v1/embeddings",
        completion_window="24h",
        metadata={"job": "nightly"},
    )
    assert made == await openai_sdk.batches.retrieve(made.id)
    assert (await groq_sdk.batches.retrieve(made.id)).endpoint == "/v1/embeddings"
