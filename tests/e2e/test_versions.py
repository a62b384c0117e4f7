"""Versions behind a name: who answers, and what activating, pinning and deleting change."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from app.cli.adapters import zip_adapter
from tests.fixtures.server import TINY, Server
from tests.fixtures.tiny_llama import write_adapter

pytestmark = pytest.mark.engine

PROMPT: list[Any] = [{"role": "user", "content": "Who are you?"}]
HOST_CACHE = 6
"""Adapters that the tiny model's engine holds, `max_cpu_loras`."""


@dataclass(frozen=True)
class Answer:
    """What came back, and the headers that say from where."""

    text: str
    model: str
    fingerprint: str | None
    digest: str | None
    tier: str | None
    wait_ms: str | None


class Customer:
    """One organisation at work with the OpenAI SDK."""

    def __init__(self, client: openai.OpenAI, room: Path) -> None:
        self.client = client
        self._room = room

    def register(self, name: str, seed: int) -> dict[str, Any]:
        """Register the adapter of a seed; return the version's data."""
        archive = self._room / f"{seed}.zip"
        with archive.open("wb") as file:
            zip_adapter(write_adapter(self._room / str(seed), seed), file)
        uploaded = self.client.files.create(file=archive, purpose="fine_tuning")  # type: ignore[arg-type]
        body = {"input_file_id": uploaded.id, "name": name, "type": "lora", "base_model": TINY}
        created = self.client.post("/fine_tunings", body=body, cast_to=dict[str, Any])
        data: dict[str, Any] = created["data"]
        return data

    def act(self, version: dict[str, Any], action: str, **body: Any) -> dict[str, Any]:
        path = f"/fine_tunings/{version['id']}/{action}"
        return self.client.post(path, body=body, cast_to=dict[str, Any])

    def delete(self, version: dict[str, Any]) -> None:
        self.client.delete(f"/fine_tunings/{version['id']}", cast_to=dict[str, Any])

    def ask(self, model: str) -> Answer:
        raw = self.client.chat.completions.with_raw_response.create(
            model=model, messages=PROMPT, temperature=0, max_tokens=24
        )
        completion, headers = raw.parse(), raw.headers
        return Answer(
            completion.choices[0].message.content or "",
            completion.model,
            completion.system_fingerprint,
            headers.get("x-adapter-digest"),
            headers.get("x-adapter-tier"),
            headers.get("x-adapter-wait-ms"),
        )


@pytest.fixture(scope="module")
def customer(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Customer]:
    key, room = server.key("versions"), tmp_path_factory.mktemp("versions")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        yield Customer(client, room)


Pair = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture
def pair(customer: Customer) -> Iterator[Pair]:
    """Two versions under one name, gone afterwards."""
    first, second = (customer.register("pair", seed) for seed in (1, 2))
    yield first, second
    for version in (first, second):
        with suppress(openai.NotFoundError):
            customer.delete(version)


def test_an_alias_answers_as_its_newest_version_and_the_old_id_as_before(
    customer: Customer, pair: Pair
) -> None:
    first, second = pair
    by_alias, by_old, by_new = (
        customer.ask(model)
        for model in (first["alias"], first["fine_tuned_model"], second["fine_tuned_model"])
    )
    assert (by_alias.text, by_alias.model) == (by_new.text, second["fine_tuned_model"])
    assert (by_old.text != by_new.text, by_old.model) == (True, first["fine_tuned_model"])
    assert (by_old.digest, by_alias.digest) == (first["digest"], second["digest"])
    assert by_alias.fingerprint == by_new.fingerprint != by_old.fingerprint
    assert {by_alias.tier, by_old.tier} == {"engine"}
    assert float(by_alias.wait_ms or "none") >= 0


def test_an_answer_of_the_base_model_names_no_adapter(customer: Customer) -> None:
    answer = customer.ask(TINY)
    assert (answer.digest, answer.tier, answer.wait_ms) == (None, None, None)


def test_going_back_moves_the_alias_and_a_running_stream_ends_on_its_version(
    customer: Customer, pair: Pair
) -> None:
    first, second = pair
    create: Callable[..., Any] = customer.client.chat.completions.with_raw_response.create
    long = {"messages": PROMPT, "temperature": 0, "max_tokens": 200}
    whole = create(model=second["fine_tuned_model"], **long).parse()

    raw = create(model=first["alias"], stream=True, **long)
    started = time.monotonic()
    chunks = iter(raw.parse())
    seen = [next(chunks), next(chunks)]
    activated = customer.act(first, "activate")["data"]
    seconds_until_activated = time.monotonic() - started
    now_by_alias = customer.ask(first["alias"])
    seen += chunks

    assert activated == {**first, "active": True}
    assert now_by_alias.digest == first["digest"]
    assert now_by_alias.text == customer.ask(first["fine_tuned_model"]).text
    assert raw.headers["x-adapter-digest"] == second["digest"]
    assert {chunk.model for chunk in seen} == {second["fine_tuned_model"]}
    text = "".join(chunk.choices[0].delta.content or "" for chunk in seen)
    assert text == whole.choices[0].message.content
    assert seconds_until_activated < seen[-1].x_groq["usage"]["completion_time"]


def test_deleting_the_active_version_gives_the_alias_to_the_one_before(
    customer: Customer, pair: Pair
) -> None:
    first, second = pair
    customer.delete(second)
    assert customer.ask(first["alias"]).digest == first["digest"]
    with pytest.raises(openai.NotFoundError) as caught:
        customer.ask(second["fine_tuned_model"])
    assert caught.value.code == "model_not_found"


def test_what_is_pinned_stays_loaded_where_the_rest_is_pushed_out(customer: Customer) -> None:
    kept, unkept = customer.register("kept", 10), customer.register("unkept", 11)
    pinned = customer.act(kept, "pin", seconds=600)["data"]
    assert pinned["pinned_until"] > time.time() + 500
    others = [customer.register(f"other-{seed}", seed) for seed in range(12, 12 + HOST_CACHE)]

    assert customer.ask(kept["fine_tuned_model"]).tier == "engine"
    warmed = customer.act(unkept, "warm")
    assert (warmed["object"], warmed["tier"]) == ("fine_tuning.warm", "disk")
    assert customer.ask(unkept["fine_tuned_model"]).tier == "engine"

    path = f"/fine_tunings/{kept['id']}"
    customer.client.delete(f"{path}/pin", cast_to=dict[str, Any])
    assert "pinned_until" not in customer.client.get(path, cast_to=dict[str, Any])["data"]
    for version in (kept, unkept, *others):
        customer.delete(version)
