"""Two organisations cannot see each other: a foreign id is exactly an unknown id."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fixtures.server import SMOLLM2, Server

pytestmark = pytest.mark.engine

UNKNOWN_FILE = "file_01jh6x76wtemjr74t1fh0faj5t"
UNKNOWN_TUNING = "ft_01jh6x76wtemjr74t1fh0faj5t"


def http(server: Server, organisation: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {server.key(organisation)}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=120)


@pytest.fixture(scope="module")
def owner(server: Server) -> Iterator[httpx.Client]:
    with http(server, "owner") as client:
        yield client


@pytest.fixture(scope="module")
def stranger(server: Server) -> Iterator[httpx.Client]:
    with http(server, "stranger") as client:
        yield client


@pytest.fixture(scope="module")
def tuning(owner: httpx.Client, pirate_zip: Path) -> dict[str, str]:
    upload = {"file": ("pirate.zip", pirate_zip.read_bytes(), "application/zip")}
    file = owner.post("/v1/files", data={"purpose": "fine_tuning"}, files=upload).json()
    body = {"input_file_id": file["id"], "name": "secret", "type": "lora", "base_model": SMOLLM2}
    response = owner.post("/v1/fine_tunings", json=body)
    assert response.status_code == 200, response.text
    data: dict[str, str] = response.json()["data"]
    return data


def assert_same_404(stranger: httpx.Client, method: str, foreign: str, unknown: str) -> None:
    seen = stranger.request(method, foreign)
    expected = stranger.request(method, unknown)
    known, other = foreign.rpartition("/v1/")[2], unknown.rpartition("/v1/")[2]
    foreign_id, unknown_id = known.split("/", 1)[1], other.split("/", 1)[1]
    foreign_id, unknown_id = foreign_id.split("/content")[0], unknown_id.split("/content")[0]
    assert seen.status_code == expected.status_code == 404
    assert seen.text.replace(foreign_id, "ID") == expected.text.replace(unknown_id, "ID")


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("DELETE", ""), ("GET", "/content")])
def test_a_foreign_file_is_an_unknown_file(
    stranger: httpx.Client, tuning: dict[str, str], method: str, suffix: str
) -> None:
    foreign = f"/v1/files/{tuning['input_file_id']}{suffix}"
    assert_same_404(stranger, method, foreign, f"/v1/files/{UNKNOWN_FILE}{suffix}")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_foreign_registration_is_an_unknown_one(
    stranger: httpx.Client, tuning: dict[str, str], method: str
) -> None:
    foreign = f"/v1/fine_tunings/{tuning['id']}"
    assert_same_404(stranger, method, foreign, f"/v1/fine_tunings/{UNKNOWN_TUNING}")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_foreign_model_is_an_unknown_model(
    stranger: httpx.Client, tuning: dict[str, str], method: str
) -> None:
    model = tuning["fine_tuned_model"]
    unknown = model.replace("secret", "absent")
    assert_same_404(stranger, method, f"/v1/models/{model}", f"/v1/models/{unknown}")


def test_a_foreign_model_cannot_be_called_by_id_nor_by_alias(
    stranger: httpx.Client, tuning: dict[str, str]
) -> None:
    model = tuning["fine_tuned_model"]
    for name in (model, model.rpartition("-")[0]):
        body = {"model": name, "messages": [{"role": "user", "content": "Hi"}]}
        response = stranger.post("/v1/chat/completions", json=body)
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"


def test_a_foreign_file_cannot_be_registered(
    stranger: httpx.Client, tuning: dict[str, str]
) -> None:
    body = {"input_file_id": tuning["input_file_id"], "name": "x", "base_model": SMOLLM2}
    foreign = stranger.post("/v1/fine_tunings", json=body)
    unknown = stranger.post("/v1/fine_tunings", json={**body, "input_file_id": UNKNOWN_FILE})

    assert foreign.status_code == unknown.status_code == 404
    assert foreign.text.replace(tuning["input_file_id"], UNKNOWN_FILE) == unknown.text


def test_lists_show_only_what_is_ones_own(
    owner: httpx.Client, stranger: httpx.Client, tuning: dict[str, str]
) -> None:
    assert stranger.get("/v1/files").json()["data"] == []
    assert stranger.get("/v1/fine_tunings").json()["data"] == []
    assert tuning["fine_tuned_model"] not in stranger.get("/v1/models").text
    assert tuning["fine_tuned_model"] in owner.get("/v1/models").text


def test_a_foreign_cursor_shows_nothing(stranger: httpx.Client, tuning: dict[str, str]) -> None:
    response = stranger.get("/v1/files", params={"after": tuning["input_file_id"]})
    assert response.json()["data"] == []


def test_the_same_prompt_of_another_organisation_is_no_cache_hit(
    owner: httpx.Client, stranger: httpx.Client
) -> None:
    prompt = "Tell me about lighthouses. " * 40
    body = {"model": SMOLLM2, "messages": [{"role": "user", "content": prompt}], "max_tokens": 1}

    def cached(client: httpx.Client) -> int:
        usage = client.post("/v1/chat/completions", json=body).json()["usage"]
        details = usage.get("prompt_tokens_details") or {"cached_tokens": 0}
        tokens: int = details["cached_tokens"]
        return tokens

    assert cached(owner) == 0
    assert cached(owner) > 0
    assert cached(stranger) == 0
