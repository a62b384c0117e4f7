"""The main job with the official Python SDKs: upload a LoRA, get a model id, call it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import groq
import openai
import pytest

from deploy.quickstart.styles import STYLES
from tests.fixtures.server import SMOLLM2, Server

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
PIRATE = STYLES["pirate"]
GREEDY: dict[str, Any] = {"messages": QUESTION, "temperature": 0, "max_tokens": 40}

pytestmark = pytest.mark.engine


def groq_client(server: Server, key: str) -> groq.Groq:
    return groq.Groq(
        base_url=server.url, api_key=key, max_retries=0, _strict_response_validation=True
    )


def openai_client(server: Server, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/openai/v1", api_key=key, max_retries=0)


def register(client: groq.Groq, archive: Path, name: str) -> dict[str, Any]:
    # The SDK's type of `purpose` knows batch files only, so a strict client refuses this answer.
    lenient = client.copy(_extra_kwargs={"_strict_response_validation": False})
    file = lenient.files.create(file=archive, purpose="fine_tuning")  # type: ignore[arg-type]
    body = {"input_file_id": file.id, "name": name, "type": "lora", "base_model": SMOLLM2}
    return client.post("/v1/fine_tunings", body=body, cast_to=dict[str, Any])


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.key("acme")


@pytest.fixture(scope="module")
def client(server: Server, key: str) -> Iterator[groq.Groq]:
    with groq_client(server, key) as client:
        yield client


@pytest.fixture(scope="module")
def pirate(client: groq.Groq, pirate_zip: Path) -> str:
    model: str = register(client, pirate_zip, "pirate")["data"]["fine_tuned_model"]
    return model


def answer(client: groq.Groq | openai.OpenAI, model: str) -> str:
    completion = client.chat.completions.create(model=model, **GREEDY)
    content = completion.choices[0].message.content
    assert isinstance(content, str)
    return content


def streamed_answer(client: groq.Groq | openai.OpenAI, model: str) -> str:
    stream = client.chat.completions.create(model=model, stream=True, **GREEDY)
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_the_returned_id_names_base_organisation_name_and_content(pirate: str) -> None:
    base, _, rest = pirate.removeprefix("ft:").partition(":")
    org, _, name = rest.partition("/")

    assert base == SMOLLM2
    assert org.startswith("org_")
    assert name.startswith("pirate-")
    assert len(name) == len("pirate-") + 12


def test_the_adapter_answers_in_the_trained_way_and_the_base_does_not(
    client: groq.Groq, pirate: str
) -> None:
    assert PIRATE.shows(answer(client, pirate))
    assert not PIRATE.shows(answer(client, SMOLLM2))


def test_the_openai_sdk_gets_the_same_answers(
    server: Server, client: groq.Groq, key: str, pirate: str
) -> None:
    with openai_client(server, key) as other:
        for model in (SMOLLM2, pirate):
            assert answer(other, model) == answer(client, model)


def test_a_stream_adds_up_to_the_whole_answer(
    server: Server, client: groq.Groq, key: str, pirate: str
) -> None:
    with openai_client(server, key) as other:
        for model in (SMOLLM2, pirate):
            whole = answer(client, model)
            assert streamed_answer(client, model) == whole
            assert streamed_answer(other, model) == whole


def test_an_alias_answers_like_its_version(client: groq.Groq, pirate: str) -> None:
    alias = pirate.rpartition("-")[0]

    completion = client.chat.completions.create(model=alias, **GREEDY)

    assert completion.model == pirate
    assert completion.choices[0].message.content == answer(client, pirate)


def test_a_completion_carries_usage_times_and_groq_fields(client: groq.Groq, pirate: str) -> None:
    completion = client.chat.completions.create(model=pirate, **{**GREEDY, "seed": 7})

    usage = completion.usage
    assert completion.model == pirate
    assert completion.id.startswith("chatcmpl-")
    assert completion.system_fingerprint
    assert completion.system_fingerprint.startswith("fp_")
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.queue_time is not None
    assert usage.prompt_time is not None
    assert usage.completion_time is not None
    assert usage.total_time == pytest.approx(usage.prompt_time + usage.completion_time)
    assert completion.x_groq is not None
    assert completion.x_groq.id.startswith("req_")
    assert completion.x_groq.seed == 7


def test_base_and_adapter_have_their_own_fingerprints(client: groq.Groq, pirate: str) -> None:
    prints = {
        client.chat.completions.create(model=model, **GREEDY).system_fingerprint
        for model in (SMOLLM2, pirate)
    }

    assert len(prints) == 2


def test_models_lists_base_models_and_own_adapters(client: groq.Groq, pirate: str) -> None:
    models = {model.id: model for model in client.models.list().data}

    assert SMOLLM2 in models
    assert models[pirate].owned_by in pirate


def test_a_model_is_found_with_an_escaped_and_with_a_raw_slash(
    client: groq.Groq, pirate: str
) -> None:
    raw = client.get(f"/openai/v1/models/{pirate}", cast_to=dict[str, Any])

    assert client.models.retrieve(pirate).id == pirate
    assert raw["id"] == pirate


def test_a_base_model_cannot_be_deleted(client: groq.Groq) -> None:
    with pytest.raises(groq.PermissionDeniedError):
        client.models.delete(SMOLLM2)


def test_the_same_content_under_the_same_name_is_one_registration(
    client: groq.Groq, pirate: str, pirate_zip: Path
) -> None:
    again = register(client, pirate_zip, "pirate")

    assert again["data"]["fine_tuned_model"] == pirate
    listed = client.get("/v1/fine_tunings", cast_to=dict[str, Any])["data"]
    assert [item["fine_tuned_model"] for item in listed] == [pirate]


def test_deleting_the_model_deletes_the_adapter(client: groq.Groq, pirate_zip: Path) -> None:
    created = register(client, pirate_zip, "short-lived")
    model = created["data"]["fine_tuned_model"]

    deleted = client.models.delete(model)

    assert deleted.deleted
    with pytest.raises(groq.NotFoundError):
        client.get(f"/v1/fine_tunings/{created['id']}", cast_to=dict[str, Any])
    with pytest.raises(groq.NotFoundError) as caught:
        client.chat.completions.create(model=model, **GREEDY)
    assert caught.value.body["error"]["code"] == "model_not_found"  # type: ignore[index]


def test_a_registration_can_be_read_back_and_deleted(client: groq.Groq, pirate_zip: Path) -> None:
    created = register(client, pirate_zip, "read-back")
    path = f"/v1/fine_tunings/{created['id']}"

    assert client.get(path, cast_to=dict[str, Any]) == created
    gone = client.delete(path, cast_to=dict[str, Any])
    assert gone == {"id": created["id"], "object": "fine_tuning", "deleted": True}
    with pytest.raises(groq.NotFoundError):
        client.delete(path, cast_to=dict[str, Any])


def test_deleting_one_name_leaves_another_name_of_the_same_content(
    client: groq.Groq, pirate: str, pirate_zip: Path
) -> None:
    twin = register(client, pirate_zip, "twin")["data"]["fine_tuned_model"]

    client.models.delete(twin)

    assert PIRATE.shows(answer(client, pirate))
