"""Usage over HTTP is what the answers told, and what the service's and vLLM's counters rose by."""

import csv
import io
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import groq
import httpx
import openai
import pytest

from tests.e2e.openmetrics import Reading, read
from tests.e2e.tiny_adapters import client, register
from tests.fixtures.server import LORA_API, TINY, Server

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

PATIENCE_SECONDS = 60.0
"""More than the ledger waits for its flush, a batch for its turn and an engine for its end."""
CUT_AFTER = 5
Tokens = Counter[str]


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with client(server, "metered") as http:
        yield http


@pytest.fixture(scope="module")
def adapter(http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    return register(http, tmp_path_factory.mktemp("metered"), seed=977)


def key_of(http: httpx.Client) -> str:
    return http.headers["authorization"].removeprefix("Bearer ")


def chat(model: str, text: str, max_tokens: int = 8) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "max_tokens": max_tokens}


def tokens_of(usage: dict[str, Any]) -> Tokens:
    return Counter(requests=1, prompt=usage["prompt_tokens"], completion=usage["completion_tokens"])


def complete(http: httpx.Client, model: str, text: str) -> Tokens:
    answer = http.post("/v1/chat/completions", json=chat(model, text))
    assert answer.status_code == 200
    return tokens_of(answer.json()["usage"])


def stream(http: httpx.Client, model: str, text: str) -> Tokens:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    with http.stream("POST", "/v1/chat/completions", json=chat(model, text) | options) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: {")]
    usages = [usage for line in lines if (usage := json.loads(line[6:]).get("usage"))]
    return tokens_of(usages[-1])


def run_batch(http: httpx.Client, models: list[str]) -> dict[str, Tokens]:
    """Run a line for each model; return what their answers told, by model."""
    lines = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body}
        for n, body in enumerate(chat(model, f"Line of {model}") for model in models)
    ]
    written = "\n".join(map(json.dumps, lines)).encode()
    upload = {"file": ("lines.jsonl", written)}
    file = http.post("/v1/files", data={"purpose": "batch"}, files=upload).json()
    asked = {
        "input_file_id": file["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    batch = http.post("/v1/batches", json=asked).json()
    batch = until(lambda: http.get(f"/v1/batches/{batch['id']}").json(), is_completed)
    output = http.get(f"/v1/files/{batch['output_file_id']}/content").text.splitlines()
    told: dict[str, Tokens] = {model: Counter() for model in models}
    for result in map(json.loads, output):
        usage = result["response"]["body"]["usage"]
        told[models[int(result["custom_id"])]] += tokens_of(usage)
    return told


def is_completed(batch: dict[str, Any]) -> bool:
    return batch["status"] == "completed"


def until(look: Any, holds: Any) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)
    return seen


def used(http: httpx.Client, **asked: str) -> list[dict[str, Any]]:
    answer = http.get("/v1/usage", params=asked)
    assert answer.status_code == 200, answer.text
    groups: list[dict[str, Any]] = answer.json()["data"]
    return groups


def shown(group: dict[str, Any]) -> Tokens:
    return Counter(
        requests=group["requests"],
        prompt=group["prompt_tokens"],
        completion=group["completion_tokens"],
    )


def total(http: httpx.Client) -> Tokens:
    return sum((shown(group) for group in used(http, group_by="")), Counter())


def settled(http: httpx.Client, requests: int) -> Tokens:
    """Wait until so many requests are counted, and return the total."""
    return until(lambda: total(http), lambda seen: seen["requests"] >= requests)  # type: ignore[no-any-return]


def risen(before: Reading, after: Reading) -> dict[str, float]:
    """Return what the service and vLLM have counted for the tiny model in the meantime."""

    def since(name: str, **labels: str) -> float:
        return after.total(name, **labels) - before.total(name, **labels)

    return {
        "prompt": since("lora_api_tokens_total", model=TINY, kind="prompt"),
        "completion": since("lora_api_tokens_total", model=TINY, kind="completion"),
        "vllm prompt": since("vllm:prompt_tokens_total", model_name=TINY),
        "vllm completion": since("vllm:generation_tokens_total", model_name=TINY),
    }


@pytest.fixture(scope="module")
def told(server: Server, http: httpx.Client, adapter: str) -> dict[tuple[str, bool], Tokens]:
    """Have calls of all kinds answered; what they told, by adapter and whether in a batch.

    The counters of the service, of vLLM and of usage must agree.
    """
    settled(http, complete(http, TINY, "Be counted")["requests"])
    earlier, before = total(http), read(server)
    told: dict[tuple[str, bool], Tokens] = {("", False): Counter(), (adapter, False): Counter()}
    for model, place in ((TINY, ""), (adapter, adapter)):
        told[place, False] += complete(http, model, f"Once, {model}")
        told[place, False] += stream(http, model, f"Streamed, {model}")
    lines = run_batch(http, [TINY, adapter, adapter])
    told["", True], told[adapter, True] = lines[TINY], lines[adapter]
    expected = sum(told.values(), Counter())
    now = settled(http, earlier["requests"] + expected["requests"])
    now.subtract(earlier)
    assert now == expected
    assert risen(before, read(server)) == {
        "prompt": expected["prompt"],
        "completion": expected["completion"],
        "vllm prompt": expected["prompt"],
        "vllm completion": expected["completion"],
    }
    return told


def test_usage_is_what_the_answers_told(
    http: httpx.Client, adapter: str, told: dict[tuple[str, bool], Tokens]
) -> None:
    groups = used(http, group_by="adapter,batch,model")
    found = {(group["adapter"] or "", group["batch"]): shown(group) for group in groups}
    assert {group["model"] for group in groups} == {TINY}
    for place in ((adapter, False), ("", True), (adapter, True)):
        assert found[place] == told[place]


def test_lines_of_batches_are_of_the_key_that_created_them(
    http: httpx.Client, told: dict[tuple[str, bool], Tokens]
) -> None:
    groups = used(http, group_by="api_key_id,batch")
    assert {group["batch"] for group in groups} == {False, True}
    [key] = {group["api_key_id"] for group in groups}
    assert key.startswith("key_")


def test_days_add_up_to_the_whole(http: httpx.Client, told: dict[tuple[str, bool], Tokens]) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(1)
    days = used(http, group_by="day", start_date=str(yesterday))
    assert sum(map(shown, days), Counter()) == total(http)


@pytest.mark.parametrize("sdk", [openai.OpenAI, groq.Groq])
def test_a_stream_that_its_client_cuts_counts_what_was_generated(
    server: Server, http: httpx.Client, sdk: Any, told: dict[tuple[str, bool], Tokens]
) -> None:
    earlier, before = total(http), read(server)
    prefix = "/openai" if sdk is groq.Groq else "/v1"
    base_url = server.url if sdk is groq.Groq else server.url + prefix
    with sdk(api_key=key_of(http), base_url=base_url) as caller:
        answer = caller.chat.completions.create(
            **chat(TINY, f"Go on and on, {sdk.__name__}", 250), stream=True
        )
        seen = 0
        for chunk in answer:
            seen += bool(chunk.choices[0].delta.content)
            if seen == CUT_AFTER:
                break
        answer.close()
    now = settled(http, earlier["requests"] + 1)
    now.subtract(earlier)

    assert now["requests"] == 1
    assert CUT_AFTER <= now["completion"] < 250
    work = risen(before, read(server))
    assert (work["prompt"], work["completion"]) == (now["prompt"], now["completion"])
    assert work["vllm prompt"] == now["prompt"]
    # A token may come out of the engine and be thrown away while its client goes.
    assert 0 <= work["vllm completion"] - work["completion"] <= 2


def test_what_is_refused_counts_nothing(http: httpx.Client) -> None:
    before = total(http)
    assert http.post("/v1/chat/completions", json=chat("unknown", "hi")).status_code == 404
    assert http.post("/v1/chat/completions", json=chat(TINY, "word " * 2000)).status_code == 400
    complete(http, TINY, "One more")
    assert settled(http, before["requests"] + 1)["requests"] == before["requests"] + 1


def test_another_organisation_sees_nothing_of_it(
    server: Server, told: dict[tuple[str, bool], Tokens]
) -> None:
    with client(server, "unmetered") as other:
        assert used(other, group_by="") == used(other, group_by="day,adapter") == []
        assert other.get("/openai/v1/usage").json()["data"] == []
    assert httpx.get(f"{server.url}/v1/usage").status_code == 401


def test_an_operator_exports_it(
    server: Server, http: httpx.Client, tmp_path: Path, told: dict[tuple[str, bool], Tokens]
) -> None:
    output = tmp_path / "usage.csv"
    yesterday = datetime.now(UTC).date() - timedelta(1)
    command = [LORA_API, "usage", "export", "--start", str(yesterday), "--org", "metered"]
    expected = total(http)
    subprocess.run(
        [*command, "-o", str(output)],
        env=dict(server.environment),
        check=True,
        capture_output=True,
        timeout=60,
    )
    rows = list(csv.DictReader(io.StringIO(output.read_text())))
    found: Tokens = Counter()
    for row in rows:
        found.update(
            requests=int(row["requests"]),
            prompt=int(row["prompt_tokens"]),
            completion=int(row["completion_tokens"]),
        )
    assert found == expected
    assert {row["organization"] for row in rows} == {"metered"}
