"""Reranking on the real server: a language model that judges, and a cross-encoder."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.all_tasks.catalog import CROSS_ENCODER, EMBEDDING, LLM_RERANKER
from tests.fixtures.server import Server

ANSWERED = {
    "What do bees make?": "Bees collect nectar from flowers and turn it into honey.",
    "capital of Japan": "Tokyo is the capital of Japan and its biggest city.",
    "best time to plant tomatoes": "Plant tomatoes in late spring, once frost has passed.",
    "What is gravity?": "Gravity is the force by which masses attract each other.",
    "Who painted the Mona Lisa?": "Leonardo da Vinci painted the Mona Lisa.",
}
QUERY, *_ = ANSWERED
DOCS = list(ANSWERED.values())

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def http(all_tasks: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {all_tasks.key('searcher')}"}
    with httpx.Client(base_url=f"{all_tasks.url}/openai/v1", headers=headers, timeout=60) as http:
        yield http


def rerank(http: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"model": LLM_RERANKER, "query": QUERY, "docs": DOCS, **fields}
    return http.post("/reranking", json=body)


def test_scores_come_sorted_and_each_document_once(http: httpx.Client) -> None:
    results = rerank(http).json()["results"]

    assert sorted(result["doc"] for result in results) == sorted(DOCS)
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_a_small_model_already_tells_relevant_documents_on_the_average(
    http: httpx.Client,
) -> None:
    right, wrong = [], []
    for query, answer in ANSWERED.items():
        for result in rerank(http, query=query).json()["results"]:
            (right if result["doc"] == answer else wrong).append(result["score"])
    means = sum(right) / len(right), sum(wrong) / len(wrong)
    print(f"mean score of relevant documents {means[0]:.3f}, of others {means[1]:.3f}")
    assert means[0] > 1.1 * means[1]


def test_an_instruction_changes_the_scores(http: httpx.Client) -> None:
    plain = {each["doc"]: each["score"] for each in rerank(http).json()["results"]}
    asked = rerank(http, instruction="Find passages about money and banks.").json()["results"]

    assert {each["doc"]: each["score"] for each in asked} != plain


@pytest.mark.parametrize("model", [LLM_RERANKER, CROSS_ENCODER])
def test_equal_documents_are_all_answered_and_score_alike(http: httpx.Client, model: str) -> None:
    results = rerank(http, model=model, docs=["b", "a", "b", "a"]).json()["results"]

    assert sorted(each["doc"] for each in results) == ["a", "a", "b", "b"]
    for doc in "ab":
        first, second = (each["score"] for each in results if each["doc"] == doc)
        # The engine may run the two in different batches, whose last bits differ.
        assert first == pytest.approx(second, rel=1e-5)


def test_a_cross_encoder_takes_no_instruction(http: httpx.Client) -> None:
    answer = rerank(http, model=CROSS_ENCODER, instruction="Find duplicates.")

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "instruction"


def test_a_document_that_is_too_long_is_named(http: httpx.Client) -> None:
    answer = rerank(http, docs=["fine", "word " * 5000])

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "docs.1"


def test_a_model_of_another_task_is_refused(http: httpx.Client) -> None:
    answer = rerank(http, model=EMBEDDING)

    assert answer.status_code == 400
    assert "does not support reranking" in answer.json()["error"]["message"]
