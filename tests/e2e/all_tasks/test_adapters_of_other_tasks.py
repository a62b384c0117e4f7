"""The main job beyond chat: adapters on an embedding base and voices, by upload and `ft:` id."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from app.engine.linear_shapes import linear_shapes
from tests.e2e.all_tasks.catalog import EMBEDDING, ORPHEUS, registered
from tests.fixtures import tiny_orpheus
from tests.fixtures.random_adapter import write_random_adapter
from tests.fixtures.server import Server

TEXT = "A cat is sleeping on the sofa."

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def key(all_tasks: Server) -> str:
    return all_tasks.key("tuner")


@pytest.fixture(scope="module")
def client(all_tasks: Server, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{all_tasks.url}/openai/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    shapes = linear_shapes(str(minilm), None, "embedding")
    return write_random_adapter(tmp_path_factory.mktemp("adapter"), shapes, seed=3)


@pytest.fixture(scope="module")
def tuned(all_tasks: Server, key: str, adapter: Path) -> str:
    return registered(all_tasks, key, EMBEDDING, adapter)


@pytest.fixture(scope="module")
def peft_vector(minilm: Path, adapter: Path) -> Any:
    from peft import PeftModel  # noqa: PLC0415

    base = AutoModel.from_pretrained(minilm, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter).eval()
    tokens = AutoTokenizer.from_pretrained(minilm)(TEXT, return_tensors="pt")
    with torch.inference_mode():
        mean = model(**tokens).last_hidden_state[0].mean(0)
    return torch.nn.functional.normalize(mean, dim=0).numpy()


def vector(client: openai.OpenAI, model: str) -> Any:
    return np.array(client.embeddings.create(model=model, input=TEXT).data[0].embedding)


def test_an_adapter_of_an_embedding_base_embeds_as_peft_does(
    client: openai.OpenAI, tuned: str, peft_vector: Any
) -> None:
    base = vector(client, EMBEDDING)

    assert np.abs(vector(client, tuned) - peft_vector).max() < 1e-5
    assert np.abs(vector(client, tuned) - base).max() > 1e-3
    assert np.abs(vector(client, EMBEDDING) - base).max() < 1e-6


def test_the_answer_names_the_adapter_and_its_weights(
    all_tasks: Server, key: str, tuned: str
) -> None:
    body = {"model": tuned, "input": TEXT}
    headers = {"authorization": f"Bearer {key}"}
    answer = httpx.post(f"{all_tasks.url}/openai/v1/embeddings", json=body, headers=headers)

    assert answer.json()["model"] == tuned
    assert answer.headers["x-adapter-digest"].startswith(tuned.rpartition("-")[2])


def test_another_organisation_does_not_have_it(all_tasks: Server, tuned: str) -> None:
    body = {"model": tuned, "input": TEXT}
    headers = {"authorization": f"Bearer {all_tasks.key('stranger')}"}
    answer = httpx.post(f"{all_tasks.url}/openai/v1/embeddings", json=body, headers=headers)

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_a_voice_from_the_registry_speaks_otherwise(
    all_tasks: Server, key: str, client: openai.OpenAI, tmp_path: Path
) -> None:
    tuned = registered(all_tasks, key, ORPHEUS, tiny_orpheus.write_adapter(tmp_path / "voice"))

    spoken = {
        model: client.audio.speech.create(
            model=model, voice="tara", input="Hello.", response_format="pcm"
        ).read()
        for model in (ORPHEUS, tuned)
    }

    assert all(len(audio) > tiny_orpheus.FRAME_SAMPLES for audio in spoken.values())
    assert spoken[ORPHEUS] != spoken[tuned]


def test_an_alias_names_a_voice(client: openai.OpenAI) -> None:
    spoken = [
        client.audio.speech.create(
            model=ORPHEUS, voice=voice, input="Hello.", response_format="pcm"
        ).read()
        for voice in ("leo", "troy")
    ]
    assert spoken[0] == spoken[1]
