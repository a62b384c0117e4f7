"""Batches as customers run them: the official SDKs on a real server with real engines."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import groq
import openai
import pytest

from tests.e2e.test_main_job import groq_client, openai_client, register
from tests.e2e.test_node_sdks import NODE, RUN_SECONDS, node_clients
from tests.fixtures.server import SMOLLM2, TINY, Server

__all__ = ["node_clients"]

CHAT = "/v1/chat/completions"
WAIT_SECONDS = 120.0
LINES = 3000
"""Enough for seconds, in many chunks: some are counted long before the others begin."""
ENDED = {"failed", "completed", "expired", "cancelled"}
Client = groq.Groq | openai.OpenAI

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.key("batches")


@pytest.fixture(scope="module", params=["groq", "openai"])
def client(request: pytest.FixtureRequest, server: Server, key: str) -> Iterator[Client]:
    make = groq_client if request.param == "groq" else openai_client
    with make(server, key) as made:
        yield made


def chat_line(custom_id: str, model: str, text: str, **body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    asked = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 8, **body}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": asked}


def uploaded(client: Client, lines: Sequence[dict[str, Any]]) -> str:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    # The two SDKs' types differ, their calls do not.
    return cast(Any, client).files.create(file=("in.jsonl", content), purpose="batch").id  # type: ignore[no-any-return]


def created(client: Client, file_id: str, **more: Any) -> Any:
    return cast(Any, client).batches.create(
        input_file_id=file_id, endpoint=CHAT, completion_window="24h", **more
    )


def ended(client: Client, batch_id: str) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while (batch := client.batches.retrieve(batch_id)).status not in ENDED:
        assert time.monotonic() < deadline, f"still {batch.status}: {batch.request_counts}"
        time.sleep(0.2)
    return batch


def results(client: Client, file_id: str | None) -> dict[str, dict[str, Any]]:
    if file_id is None:
        return {}
    answer = cast(Any, client).files.content(file_id)
    text = answer.text() if callable(answer.text) else answer.text
    lines = [json.loads(line) for line in text.splitlines()]
    by_id = {line["custom_id"]: line for line in lines}
    assert len(by_id) == len(lines)
    return by_id


def content(line: dict[str, Any]) -> str:
    return str(line["response"]["body"]["choices"][0]["message"]["content"])


def test_a_batch_answers_every_line_as_the_route_would(client: Client) -> None:
    texts = {f"line-{number}": f"Count to {number}." for number in range(12)}
    lines = [chat_line(id, TINY, text) for id, text in texts.items()]

    batch = created(client, uploaded(client, lines), metadata={"job": "nightly"})
    assert batch.status == "validating"
    batch = ended(client, batch.id)

    assert batch.status == "completed"
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (12, 12, 0)
    assert batch.error_file_id is None
    assert batch.metadata == {"job": "nightly"}
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    output = results(client, batch.output_file_id)
    assert list(output) == list(texts)
    for id, text in texts.items():
        direct = cast(Any, client).chat.completions.create(**chat_line(id, TINY, text)["body"])
        assert content(output[id]) == direct.choices[0].message.content
        assert output[id]["id"].startswith("batch_req_")
        assert output[id]["error"] is None
        assert output[id]["response"]["status_code"] == 200
        assert output[id]["response"]["request_id"].startswith("req_")


def test_what_is_wrong_with_a_line_stands_in_the_error_file(client: Client) -> None:
    lines = [
        chat_line("good", TINY, "Say yes."),
        chat_line("nobody", "no-such-model", "Say yes."),
        chat_line("streamed", TINY, "Say yes.", stream=True),
        chat_line("tiered", TINY, "Say yes.", service_tier="flex"),
        chat_line("long", TINY, "word " * 4000),
    ]

    batch = ended(client, created(client, uploaded(client, lines)).id)

    assert batch.status == "completed"
    assert batch.request_counts.failed == 4
    assert list(results(client, batch.output_file_id)) == ["good"]
    errors = results(client, batch.error_file_id)
    statuses = {id: line["response"]["status_code"] for id, line in errors.items()}
    assert statuses == {"nobody": 404, "streamed": 400, "tiered": 400, "long": 400}
    assert errors["nobody"]["response"]["body"]["error"]["code"] == "model_not_found"
    assert all(line["error"] is None for line in errors.values())


def test_a_file_with_a_bad_line_fails_before_anything_runs(client: Client) -> None:
    lines = [chat_line(id, TINY, "Hi") for id in ("a", "b", "a")]
    lines[1]["method"] = "GET"

    batch = ended(client, created(client, uploaded(client, lines)).id)

    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.output_file_id is None
    found = [(error.line, error.code) for error in batch.errors.data]
    assert found == [(2, "invalid_method"), (3, "duplicate_custom_id")]


def test_a_cancelled_batch_keeps_what_was_finished(client: Client) -> None:
    lines = [chat_line(f"n{n}", TINY, f"Tell {n}.", max_tokens=200) for n in range(LINES)]
    batch = created(client, uploaded(client, lines))
    while client.batches.retrieve(batch.id).request_counts.completed == 0:  # type: ignore[union-attr]
        time.sleep(0.1)

    cancelling = client.batches.cancel(batch.id)
    assert cancelling.status in ("cancelling", "cancelled")
    batch = ended(client, batch.id)

    assert batch.status == "cancelled"
    output = results(client, batch.output_file_id)
    errors = results(client, batch.error_file_id)
    assert 0 < len(output) < LINES
    assert output.keys() | errors.keys() == {line["custom_id"] for line in lines}
    assert output.keys().isdisjoint(errors)
    assert {line["error"]["code"] for line in errors.values()} == {"batch_cancelled"}


def test_lists_end_and_hold_each_batch_once(client: Client) -> None:
    file_id = uploaded(client, [chat_line("one", TINY, "Hi")])
    mine = {created(client, file_id).id for _ in range(3)}

    listed = [batch.id for batch in client.batches.list(limit=2)] if _pages(client) else None
    if listed is not None:
        assert len(listed) == len(set(listed))
        assert mine <= set(listed)
    answer = cast(Any, client).get(
        "/openai/v1/batches" if isinstance(client, groq.Groq) else "/batches",
        cast_to=dict[str, Any],
        options={"params": {"id": sorted(mine)}},
    )
    assert {batch["id"] for batch in answer["data"]} == mine
    for id in mine:
        ended(client, id)


def _pages(client: Client) -> bool:
    """Whether the SDK follows cursors; the groq SDK returns one page."""
    return isinstance(client, openai.OpenAI)


def test_a_file_that_a_batch_reads_cannot_be_deleted(client: Client) -> None:
    lines = [chat_line(f"n{n}", TINY, f"Tell {n}.", max_tokens=100) for n in range(100)]
    file_id = uploaded(client, lines)
    batch = created(client, file_id)

    conflict = groq.ConflictError if isinstance(client, groq.Groq) else openai.ConflictError
    with pytest.raises(conflict, match=batch.id):
        client.files.delete(file_id)
    ended(client, batch.id)
    client.files.delete(file_id)


def test_lines_may_ask_adapters_and_their_base(server: Server, key: str, pirate_zip: Path) -> None:
    with groq_client(server, key) as client:
        adapter = register(client, pirate_zip, "pirate")["data"]["fine_tuned_model"]
        question = "What is the capital of France?"
        models = [SMOLLM2, adapter] * 4
        lines = [
            chat_line(f"{n}", model, question, max_tokens=40) for n, model in enumerate(models)
        ]

        batch = ended(client, created(client, uploaded(client, lines)).id)

        output = results(client, batch.output_file_id)
        for model in (SMOLLM2, adapter):
            body = chat_line("", model, question, max_tokens=40)["body"]
            direct = client.chat.completions.create(**body).choices[0].message.content
            told = {content(output[f"{n}"]) for n, each in enumerate(models) if each == model}
            assert told == {direct}


def test_the_node_sdks_run_a_batch(server: Server, key: str, node_clients: Path) -> None:
    assert shutil.which("node")
    done = subprocess.run(
        ["node", "batches.mjs", server.url, key, TINY],
        cwd=NODE,
        check=True,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )

    seen = json.loads(done.stdout)
    for flow in seen.values():
        assert flow["status"] == "completed"
        assert flow["counts"] == {"total": 3, "completed": 3, "failed": 0}
        assert sorted(flow["ids"]) == ["a", "b", "c"]
        assert flow["listed"]
