"""Legacy completions on the real server, called through the official OpenAI SDK."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import Completion
from transformers import AutoTokenizer

from tests.fixtures.server import SMOLLM2, Server

CAPITAL = "The capital of France is"
LINES = [CAPITAL, "Water boils at", "Roses are red, violets are"]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 12}

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.key("continuer")


@pytest.fixture(scope="module")
def client(server: Server, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/openai/v1", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def pirate(server: Server, key: str, pirate_zip: Path) -> str:
    authorization = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=server.url, headers=authorization, timeout=120) as http:
        with pirate_zip.open("rb") as archive:
            data = {"purpose": "fine_tuning"}
            file = http.post("/v1/files", data=data, files={"file": archive}).json()
        body = {
            "input_file_id": file["id"],
            "name": "pirate",
            "type": "lora",
            "base_model": SMOLLM2,
        }
        created = http.post("/v1/fine_tunings", json=body).json()
    model: str = created["data"]["fine_tuned_model"]
    return model


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Any:
    return AutoTokenizer.from_pretrained(smollm2)


def complete(client: openai.OpenAI, prompt: Any, **fields: Any) -> Completion:
    completion: Completion = client.completions.create(
        **{"model": SMOLLM2, "prompt": prompt, **GREEDY, **fields}
    )
    return completion


def text(completion: Completion) -> str:
    return completion.choices[0].text


def test_a_text_is_continued(client: openai.OpenAI) -> None:
    completion = complete(client, CAPITAL)
    assert "Paris" in text(completion)
    assert completion.choices[0].finish_reason == "length"
    assert completion.id.startswith("cmpl-")
    assert completion.usage is not None
    assert completion.usage.completion_tokens == GREEDY["max_tokens"]


def test_an_adapter_continues_it_in_another_way(client: openai.OpenAI, pirate: str) -> None:
    with_adapter = complete(client, CAPITAL, model=pirate)
    assert with_adapter.model == pirate
    assert text(with_adapter) != text(complete(client, CAPITAL))


def test_token_ids_are_continued_like_the_text_they_stand_for(
    client: openai.OpenAI, tokenizer: Any
) -> None:
    ids = tokenizer.encode(CAPITAL)
    by_text, by_ids = complete(client, CAPITAL), complete(client, ids)
    assert text(by_ids) == text(by_text)
    assert by_ids.usage is not None
    assert by_text.usage is not None
    assert by_ids.usage.prompt_tokens == by_text.usage.prompt_tokens == len(ids)


def test_the_greedy_token_is_the_likeliest_and_the_tokens_make_up_the_text(
    client: openai.OpenAI,
) -> None:
    completion = complete(client, CAPITAL, logprobs=3)
    told = completion.choices[0].logprobs
    assert told is not None
    assert told.tokens is not None
    assert told.token_logprobs is not None
    assert told.top_logprobs is not None
    assert "".join(told.tokens) == text(completion)
    starts = [sum(map(len, told.tokens[:number])) for number in range(len(told.tokens))]
    assert told.text_offset == starts
    for token, logprob, top in zip(
        told.tokens, told.token_logprobs, told.top_logprobs, strict=True
    ):
        assert next(iter(top)) == token
        assert top[token] == logprob == max(top.values())
        assert len(top) == 3


@pytest.mark.parametrize("logprobs", [None, 2])
def test_a_stream_of_several_choices_adds_up_to_each_alone(
    client: openai.OpenAI, logprobs: int | None
) -> None:
    alone = [complete(client, line, logprobs=logprobs).choices[0] for line in LINES]
    stream = client.completions.create(
        model=SMOLLM2,
        prompt=LINES,
        stream=True,
        logprobs=logprobs,
        stream_options={"include_usage": True},
        **GREEDY,
    )
    texts, tokens = [""] * len(LINES), [list[str]() for _ in LINES]
    reasons = dict[int, str]()
    chunks = list(stream)
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] += choice.text
        tokens[choice.index] += (choice.logprobs.tokens if choice.logprobs else None) or []
        if choice.finish_reason:
            reasons[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in alone]
    assert tokens == [(each.logprobs.tokens if each.logprobs else None) or [] for each in alone]
    assert reasons == dict.fromkeys(range(len(LINES)), "length")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(LINES) * GREEDY["max_tokens"]


def test_several_prompts_of_an_adapter_are_answered_like_each_alone(
    client: openai.OpenAI, pirate: str
) -> None:
    together = complete(client, LINES, model=pirate)
    alone = [text(complete(client, line, model=pirate)) for line in LINES]
    assert [choice.text for choice in together.choices] == alone


@pytest.mark.parametrize("as_ids", [False, True])
def test_echo_gives_the_prompt_back(client: openai.OpenAI, tokenizer: Any, as_ids: bool) -> None:
    prompt = tokenizer.encode(CAPITAL) if as_ids else CAPITAL
    assert text(complete(client, prompt, echo=True)) == CAPITAL + text(complete(client, CAPITAL))
    nothing = complete(client, prompt, echo=True, max_tokens=0)
    assert (text(nothing), nothing.choices[0].finish_reason) == (CAPITAL, "length")
    assert nothing.usage is not None
    assert nothing.usage.completion_tokens == 0


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"prompt": [10**6]}, "not in this model's vocabulary"),
        ({"prompt": ""}, "is empty"),
        ({"prompt": [5] * 2000}, "reduce the length of the prompt"),
        ({"prompt": [CAPITAL, "a " * 2000]}, "reduce the length of the prompt"),
        ({"suffix": "."}, "suffix"),
        ({"echo": True, "logprobs": 1}, "logprobs"),
        ({"logit_bias": {"999999999": 1}}, "logit_bias"),
    ],
)
def test_what_cannot_be_done_is_refused_and_said(
    client: openai.OpenAI, fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=problem):
        complete(client, **{"prompt": CAPITAL, **fields})
    assert "Paris" in text(complete(client, CAPITAL))
