"""Embeddings on the real server, by both SDKs, against sentence-transformers."""

import base64
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import groq
import httpx
import numpy as np
import openai
import pytest

from tests.e2e.all_tasks.catalog import EMBEDDING
from tests.fixtures.server import Server

TEXTS = [
    "A cat is sleeping on the sofa.",
    "Die Katze schläft auf dem Sofa.",
    "猫がソファで寝ている。 🐈",
    "x",
    "SELECT * FROM adapters WHERE org_id = 'org_1'; -- a comment",
    "The quick brown fox jumps over the lazy dog. " * 20,
]

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def truth(minilm: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415

        model = SentenceTransformer(str(minilm), device="cpu", local_files_only=True)
        return model.encode(TEXTS, normalize_embeddings=True, convert_to_numpy=True)


@pytest.fixture(scope="module")
def http(all_tasks: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {all_tasks.key('embedder')}"}
    with httpx.Client(base_url=f"{all_tasks.url}/openai/v1", headers=headers, timeout=60) as http:
        yield http


def test_the_openai_sdk_gets_the_vectors_of_sentence_transformers_in_order(
    all_tasks_client: openai.OpenAI, truth: Any
) -> None:
    answer = all_tasks_client.embeddings.create(model=EMBEDDING, input=TEXTS)

    assert [item.index for item in answer.data] == list(range(len(TEXTS)))
    vectors = np.array([item.embedding for item in answer.data])
    assert np.abs(vectors - truth).max() < 1e-5
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > len(TEXTS)


def test_the_groq_sdk_gets_the_same_numbers(all_tasks: Server, truth: Any) -> None:
    with groq.Groq(
        base_url=all_tasks.url,
        api_key=all_tasks.key("groq-embedder"),
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        answer = client.embeddings.create(model=EMBEDDING, input=TEXTS[0])

    assert np.abs(np.array(answer.data[0].embedding) - truth[0]).max() < 1e-5


def test_both_formats_are_the_same_float32(http: httpx.Client) -> None:
    body = {"model": EMBEDDING, "input": TEXTS[0]}
    as_floats = http.post("/embeddings", json=body).json()["data"][0]["embedding"]
    as_text = http.post("/embeddings", json={**body, "encoding_format": "base64"}).json()["data"][
        0
    ]["embedding"]

    assert np.array(as_floats, dtype="<f4").tobytes() == base64.b64decode(as_text)
    assert len(struct.unpack(f"<{len(as_floats)}f", base64.b64decode(as_text))) == 384


def test_an_array_of_2048_texts_keeps_its_order(http: httpx.Client) -> None:
    texts = [f"number {number}" for number in range(2048)]
    answer = http.post("/embeddings", json={"model": EMBEDDING, "input": texts}).json()
    single = http.post("/embeddings", json={"model": EMBEDDING, "input": texts[1234]}).json()

    vectors = np.array([item["embedding"] for item in answer["data"]])
    assert np.abs(vectors[1234] - np.array(single["data"][0]["embedding"])).max() < 1e-5
    assert len(np.unique(vectors.round(4), axis=0)) == 2048


@pytest.mark.parametrize("wrong", ["", "word " * 3000])
def test_an_input_that_cannot_be_taken_is_named(http: httpx.Client, wrong: str) -> None:
    answer = http.post("/embeddings", json={"model": EMBEDDING, "input": ["fine", wrong]})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "input.1"


def test_a_chat_route_says_what_an_embedding_model_cannot(http: httpx.Client) -> None:
    body = {"model": EMBEDDING, "messages": [{"role": "user", "content": "hi"}]}
    answer = http.post("/chat/completions", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        f"The model `{EMBEDDING}` does not support text generation."
    )
