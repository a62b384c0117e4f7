"""Engines and servers that are killed: who notices, who goes on, and that everything comes back."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.chat_streams import chunks_of, error_of
from tests.e2e.openmetrics import read
from tests.e2e.tiny_adapters import client, register
from tests.fixtures.server import TINY, Server, running_server, tiny_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

OTHER = "other-llama"
CONTEXT = 1024
NOTICED_SECONDS = 5.0
BACK_SECONDS = 120.0
STOPPED_SECONDS = 5.0
LOST_STATUS = 4
SETTINGS = {"LORA_API_ADAPTERS__UPKEEP_SECONDS": "1"}
BATCH_LINES = 8
STREAMS = 4
"""Of the base model, and as many of its adapter."""
RELEASED = (
    ("lora_api_admitted_requests", {"model": TINY}),
    ("lora_api_admitted_prompt_tokens", {"model": TINY}),
    ("lora_api_adapter_requests_running", {"base_model": TINY}),
    ("lora_api_adapter_requests_waiting", {"base_model": TINY}),
)


def long_model(source: Path, id: str) -> dict[str, Any]:
    """An entry of the random model whose answers last for seconds."""
    longer = {"id": id, "context_window": CONTEXT, "max_completion_tokens": CONTEXT}
    return {**tiny_model(source), **longer}


def in_two_processes(model: dict[str, Any]) -> dict[str, Any]:
    """Have the engine run as one over several devices does, which leaves most when it is killed."""
    return {**model, "vllm": {**model["vllm"], "distributed_executor_backend": "mp"}}


def question(model: str, max_tokens: int, *, stream: bool = False) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Go on and on"}]
    wanted = {"max_tokens": max_tokens, "temperature": 0, "stream": stream}
    return {"model": model, "messages": messages, **wanted}


def ask(http: httpx.Client, model: str, max_tokens: int = 16) -> httpx.Response:
    return http.post("/v1/chat/completions", json=question(model, max_tokens))


def answer(http: httpx.Client, model: str) -> str:
    response = ask(http, model)
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


def streamed(http: httpx.Client, model: str, began: Callable[[], object]) -> tuple[str, float]:
    """Read a long stream to its end, and tell when that was."""
    body = question(model, CONTEXT - 100, stream=True)
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200, response.read()
        parts = []
        for part in response.iter_text():
            parts.append(part)
            if len(parts) == 2:
                began()
    return "".join(parts), time.monotonic()


def engine_processes(pid: int, *, recursive: bool = True) -> set[psutil.Process]:
    """Return the processes of vLLM below a server, engines with what they started, or alone."""
    children = psutil.Process(pid).children(recursive=recursive)
    return {child for child in children if _is_engine(child)}


def _is_engine(process: psutil.Process) -> bool:
    try:
        return "resource_tracker" not in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False  # it has died, and its parent has not seen that yet


def engine_of(http: httpx.Client, server: Server, model: str) -> list[psutil.Process]:
    """Return the processes that work while the model answers, the first of them its EngineCore."""
    engines = {
        engine: [engine, *engine.children(recursive=True)]
        for engine in engine_processes(server.pid, recursive=False)
    }

    def worked() -> dict[psutil.Process, float]:
        return {
            engine: sum(each.cpu_times().user for each in family)
            for engine, family in engines.items()
        }

    before = worked()
    assert ask(http, model, 200).status_code == 200
    after = worked()
    return engines[max(engines, key=lambda engine: after[engine] - before[engine])]


def shared_memory(processes: list[psutil.Process]) -> set[Path]:
    """Return what processes share with others, by name."""
    paths = {Path(each.path) for process in processes for each in process.memory_maps()}
    return {path for path in paths if path.name.startswith("psm_")}


def readiness(server: Server) -> tuple[int, dict[str, Any]]:
    response = httpx.get(f"{server.url}/health/ready", timeout=10)
    return response.status_code, response.json()


def wait_until(is_true: Callable[[], object], seconds: float) -> float:
    """Return how long it took."""
    begun = time.monotonic()
    while not is_true():
        assert time.monotonic() - begun < seconds, "it did not happen in time"
        time.sleep(0.1)
    return time.monotonic() - begun


@pytest.fixture(scope="module")
def two_models(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path
) -> Iterator[Server]:
    models = [long_model(tiny_llama_directory, id) for id in (TINY, OTHER)]
    models[0] = in_two_processes(models[0])
    with running_server(models, tmp_path_factory.mktemp("supervised"), **SETTINGS) as server:
        yield server


@pytest.fixture
def http(two_models: Server) -> Iterator[httpx.Client]:
    with client(two_models, "acme") as http:
        yield http


def test_a_killed_engine_fails_its_requests_at_once_and_comes_back(
    two_models: Server, http: httpx.Client, tmp_path: Path
) -> None:
    adapter = register(http, tmp_path, 1)
    pin(http)
    before = [answer(http, model) for model in (TINY, adapter, OTHER)]
    assert len({*before}) == 2
    engine = engine_of(http, two_models, TINY)
    processes = len(engine_processes(two_models.pid))
    shared = shared_memory(engine)
    assert shared
    batch = new_batch(http, [TINY, adapter])

    cut, others, calls, killed_at = kill_in_the_middle(http, adapter, engine[0])

    assert status_of(two_models) == (503, [f"model {TINY}"], "down", "up")
    refused = ask(http, adapter)
    assert (refused.status_code, refused.json()["error"]["type"]) == (503, "internal_server_error")
    for text, ended_at in cut:
        assert error_of(text)["type"] == "internal_server_error"
        assert ended_at - killed_at < NOTICED_SECONDS
    assert {response.status_code for response in calls} == {503}
    assert all(len(chunks_of(text)) > 2 for text, _ in others)
    assert httpx.get(f"{two_models.url}/health/live").status_code == 200

    seconds = wait_until(lambda: readiness(two_models)[0] == 200, BACK_SECONDS)
    print(f"back after {seconds:.1f} s")
    assert [answer(http, model) for model in (TINY, adapter, OTHER)] == before
    assert not any(each.is_running() for each in engine)
    assert not [path for path in shared if path.exists()]
    assert len(engine_processes(two_models.pid)) == processes
    assert_batch_completes(http, batch)
    assert_nothing_is_held(two_models)


def pin(http: httpx.Client) -> None:
    """Pin the one adapter."""
    (adapter,) = http.get("/v1/fine_tunings").json()["data"]
    response = http.post(f"/v1/fine_tunings/{adapter['id']}/pin", json={"seconds": 3600})
    assert response.status_code == 200, response.text


def new_batch(http: httpx.Client, models: list[str]) -> str:
    """Have the server work on a batch."""
    path = "/v1/chat/completions"
    lines = [
        {"custom_id": str(n), "method": "POST", "url": path, "body": question(model, 400)}
        for n, model in enumerate(models * BATCH_LINES)
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    upload = {"file": ("in.jsonl", content, "application/jsonl")}
    file = http.post("/v1/files", data={"purpose": "batch"}, files=upload).json()["id"]
    wanted = {"input_file_id": file, "endpoint": path, "completion_window": "24h"}
    batch: str = http.post("/v1/batches", json=wanted).json()["id"]
    wait_until(lambda: batch_status(http, batch)["status"] == "in_progress", 30)
    return batch


def batch_status(http: httpx.Client, batch: str) -> dict[str, Any]:
    status: dict[str, Any] = http.get(f"/v1/batches/{batch}").json()
    return status


def assert_batch_completes(http: httpx.Client, batch: str) -> None:
    """Lines of a dead engine are asked again."""
    wait_until(lambda: batch_status(http, batch)["status"] == "completed", 90)
    counts = batch_status(http, batch)["request_counts"]
    assert counts == {"total": 2 * BATCH_LINES, "completed": 2 * BATCH_LINES, "failed": 0}


def assert_nothing_is_held(server: Server) -> None:
    """Check what the metrics say after an engine came back: its counts, places and pins."""
    wait_until(lambda: read(server).total("lora_api_adapters_pinned", base_model=TINY) == 1, 10)
    figures = read(server)
    assert figures.total("lora_api_engine_restarts_total", model=TINY) == 1
    assert figures.total("lora_api_engine_restarts_total", model=OTHER) == 0
    assert figures.total("lora_api_engine_up") == 2
    for name, labels in RELEASED:
        assert (name, figures.total(name, **labels)) == (name, 0)
    for model in (TINY, OTHER):
        assert figures.total("vllm:num_requests_running", model_name=model) == 0


def kill_in_the_middle(
    http: httpx.Client, adapter: str, engine: psutil.Process
) -> tuple[list[tuple[str, float]], list[tuple[str, float]], list[httpx.Response], float]:
    """Kill an engine under streams and calls; return those, the other model's streams and when."""
    with ThreadPoolExecutor(4 * STREAMS) as threads:
        marks: list[str] = []
        other = [
            threads.submit(streamed, http, OTHER, lambda: marks.append("other")) for _ in range(2)
        ]
        own = [
            threads.submit(streamed, http, model, lambda: marks.append("own"))
            for model in (TINY, adapter) * STREAMS
        ]
        calls = [threads.submit(ask, http, model, 900) for model in (TINY, adapter)]
        wait_until(lambda: len(marks) == len(other) + len(own), 30)
        engine.kill()
        killed_at = time.monotonic()
        return (
            [stream.result() for stream in own],
            [stream.result() for stream in other],
            [call.result() for call in calls],
            killed_at,
        )


def status_of(server: Server) -> tuple[int, list[str], str, str]:
    """Return the readiness, the failing parts, and how both models are."""
    status, body = readiness(server)
    return status, body["failing"], body["models"][TINY], body["models"][OTHER]


def test_a_killed_server_leaves_no_engine_process(two_models: Server) -> None:
    engines = engine_processes(two_models.pid)
    assert len(engines) >= 2
    os.kill(two_models.pid, signal.SIGKILL)
    two_models.process.wait(10)
    _, alive = psutil.wait_procs(engines, timeout=10)
    assert alive == []


def test_a_server_that_is_stopped_while_an_engine_starts_again_waits_for_no_start(
    tmp_path: Path, tiny_llama_directory: Path
) -> None:
    with running_server([long_model(tiny_llama_directory, TINY)], tmp_path) as server:
        (engine,) = engine_processes(server.pid, recursive=False)
        engine.kill()
        wait_until(lambda: engine_processes(server.pid, recursive=False) - {engine}, 30)
        processes = engine_processes(server.pid)
        told_at = time.monotonic()
        assert server.stop() == -signal.SIGTERM
        seconds = time.monotonic() - told_at
    print(f"stopped within {seconds:.1f} s")
    assert seconds < STOPPED_SECONDS
    assert psutil.wait_procs(processes, timeout=10)[1] == []


def test_a_model_that_does_not_come_back_ends_the_process(
    tmp_path: Path, tiny_llama_directory: Path
) -> None:
    source = shutil.copytree(tiny_llama_directory, tmp_path / "model")
    models = [long_model(source, TINY)]
    room = tmp_path / "server"
    with running_server(models, room, LORA_API_ENGINES__RESTART_PAUSE_SECONDS="0.1") as server:
        (engine,) = engine_processes(server.pid, recursive=False)
        source.rename(tmp_path / "elsewhere")
        engine.kill()

        assert server.process.wait(60) == LOST_STATUS

    logged = [
        json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")
    ]
    told = [line for line in logged if line.get("event") == "engine not restarted"]
    assert len(told) == 4
    assert {line["model"] for line in told} == {TINY}
    (lost,) = [line for line in logged if line.get("event") == "model lost"]
    assert (lost["model"], lost["deaths_in_a_row"]) == (TINY, 5)
