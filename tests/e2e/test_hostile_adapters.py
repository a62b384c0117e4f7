"""Every hostile upload over HTTP gets its verdict, and the engine goes on answering as before."""

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE
from tests.fixtures.server import SMOLLM2, TINY, Server
from tests.fixtures.tiny_llama import write_adapter
from tests.hostile.case import CANARY, HostileCase, good_config, upload
from tests.hostile.configs import HARMLESS_BASES
from tests.hostile.corpus import CORPUS

pytestmark = pytest.mark.engine

BATCHES = [CORPUS[start : start + 5] for start in range(0, len(CORPUS), 5)]
MAX_SECONDS = 5.0
LEAKS = ("Traceback", "site-packages", "/tmp", "Errno")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {server.key('hostile')}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def good_model(client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An adapter that works, registered before anything hostile came."""
    directory = write_adapter(tmp_path_factory.mktemp("good"), seed=77)
    response = register(client, zipped(directory), name="good")
    assert response.status_code == 200, response.text
    return str(response.json()["data"]["fine_tuned_model"])


@pytest.fixture(scope="module")
def before(client: httpx.Client, good_model: str) -> dict[str, str]:
    """The greedy answers of the adapter and of the base model, which differ."""
    answers = {model: answer(client, model) for model in (good_model, TINY)}
    assert len(set(answers.values())) == 2
    return answers


def zipped(directory: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            archive.write(directory / name, name)
    return buffer.getvalue()


def register(client: httpx.Client, content: bytes, *, name: str = "hostile") -> httpx.Response:
    """Upload and register; return the first answer that is no success, or the last one."""
    files = {"file": ("adapter.zip", content, "application/zip")}
    uploaded = client.post("/v1/files", data={"purpose": "fine_tuning"}, files=files)
    if uploaded.status_code != 200:
        return uploaded
    file_id = uploaded.json()["id"]
    body = {"input_file_id": file_id, "name": name, "base_model": TINY}
    registered = client.post("/v1/fine_tunings", json=body)
    if registered.status_code != 200:
        assert client.delete(f"/v1/files/{file_id}").status_code == 200
    return registered


def answer(client: httpx.Client, model: str) -> str:
    message = {"role": "user", "content": "Say something."}
    body = {"model": model, "messages": [message], "temperature": 0, "max_tokens": 12}
    response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def fault(case: HostileCase, response: httpx.Response) -> str | None:
    """Say what is wrong with the answer to a hostile upload; None where it is right."""
    if response.status_code != 400 or any(leak in response.text for leak in LEAKS):
        return f"{case.id}: {response.status_code} {response.text[:300]}"
    error = response.json()["error"]
    is_refused_as_no_zip = response.request.url.path.endswith("/files")
    code = error.get("code") if is_refused_as_no_zip else case.code
    if error.get("code") != code or not error.get("param") or not error["message"]:
        return f"{case.id}: {case.code} is expected, not {error}"
    if is_refused_as_no_zip and (error["param"] != "file" or case.make().startswith(b"PK")):
        return f"{case.id}: refused as it was uploaded, {error}"
    return None


@pytest.mark.parametrize("cases", BATCHES, ids=lambda cases: f"from {cases[0].id}")
def test_hostile_uploads_get_their_verdicts_and_answers_stay_the_same(
    client: httpx.Client, before: dict[str, str], cases: tuple[HostileCase, ...]
) -> None:
    faults = []
    for case in cases:
        content = case.make()
        started = time.monotonic()
        faults.append(fault(case, register(client, content)))
        if (took := time.monotonic() - started) > MAX_SECONDS:
            faults.append(f"{case.id}: answered after {took:.1f} s")

    assert [found for found in faults if found] == []
    assert {model: answer(client, model) for model in before} == before
    assert not CANARY.exists()


def test_adapter_trained_on_the_other_served_model_is_refused(client: httpx.Client) -> None:
    response = register(client, upload(good_config(base_model_name_or_path=SMOLLM2)))

    error = response.json()["error"]
    assert response.status_code == 400
    assert (error["code"], error["param"]) == ("base_model_mismatch", "base_model_name_or_path")


def test_base_model_that_looks_like_a_path_is_never_opened(client: httpx.Client) -> None:
    for number, said in enumerate(HARMLESS_BASES):
        content = upload(good_config(base_model_name_or_path=said))
        response = register(client, content, name=f"harmless-{number}")
        assert response.status_code == 200, response.text
        assert client.delete(f"/v1/fine_tunings/{response.json()['id']}").status_code == 200


def test_nothing_hostile_was_kept(client: httpx.Client, good_model: str) -> None:
    listed = client.get("/v1/fine_tunings").json()["data"]

    assert [version["fine_tuned_model"] for version in listed] == [good_model]
    assert len(client.get("/v1/files").json()["data"]) == 1 + len(HARMLESS_BASES)
