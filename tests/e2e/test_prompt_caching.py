"""Prompt caching: a prompt sent again is not computed again, and nobody else can tell."""

import itertools
import time
from collections.abc import Callable, Iterator
from statistics import median

import httpx
import pytest

from tests.e2e.openmetrics import read
from tests.e2e.tiny_adapters import client, register
from tests.fixtures.server import SMOLLM2, TINY, Server

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

BLOCK = 16
"""Tokens of a cache block, by vLLM's default; the CPU's may be a multiple of it."""
PAIRS = 12
_numbers = itertools.count()


@pytest.fixture(scope="module")
def owner(server: Server) -> Iterator[httpx.Client]:
    with client(server, "cache-owner") as http:
        yield http


@pytest.fixture(scope="module")
def stranger(server: Server) -> Iterator[httpx.Client]:
    with client(server, "cache-stranger") as http:
        yield http


@pytest.fixture(scope="module")
def adapters(owner: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    room = tmp_path_factory.mktemp("cached")
    return register(owner, room, seed=821), register(owner, room, seed=822)


@pytest.fixture
def hits(server: Server) -> Callable[[str], float]:
    """Return how many tokens vLLM has found in its cache, by its own count."""
    return lambda model: read(server).total("vllm:prefix_cache_hits_total", model_name=model)


def a_text(words: int) -> str:
    """Return a text that nobody has sent before, different from its first word on."""
    return f"{next(_numbers)} lighthouses " * words


def cached(http: httpx.Client, text: str, model: str) -> int:
    """Send a prompt and return how many of its tokens were cached, as its caller is told."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 1}
    response = http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    usage = response.json()["usage"]
    tokens: int = (usage.get("prompt_tokens_details") or {"cached_tokens": 0})["cached_tokens"]
    assert 0 <= tokens < usage["prompt_tokens"]
    return tokens


def test_a_prompt_sent_again_is_cached_in_whole_blocks_for_its_organisation_only(
    owner: httpx.Client, stranger: httpx.Client, hits: Callable[[str], float]
) -> None:
    text, before = a_text(20), hits(TINY)
    assert cached(owner, text, TINY) == 0
    assert hits(TINY) == before
    again = cached(owner, text, TINY)
    assert again > 0
    assert again % BLOCK == 0
    assert hits(TINY) == before + again
    assert cached(stranger, text, TINY) == 0
    assert hits(TINY) == before + again
    assert cached(stranger, text, TINY) == again


def test_another_key_of_the_same_organisation_shares_its_cache(
    server: Server, owner: httpx.Client
) -> None:
    text = a_text(20)
    cached(owner, text, TINY)
    with client(server, "cache-owner") as other:
        assert cached(other, text, TINY) > 0


def test_base_model_and_adapters_share_no_cache(
    owner: httpx.Client, adapters: tuple[str, str], hits: Callable[[str], float]
) -> None:
    text, before = a_text(20), hits(TINY)
    models = (adapters[0], TINY, adapters[1])
    assert [cached(owner, text, model) for model in models] == [0, 0, 0]
    assert hits(TINY) == before
    again = [cached(owner, text, model) for model in models]
    assert min(again) > 0
    assert hits(TINY) == before + sum(again)


def test_a_strangers_prompt_takes_as_long_as_one_that_nobody_sent(
    owner: httpx.Client, stranger: httpx.Client
) -> None:
    """By time too, only the organisation itself can tell that a prompt was sent before."""

    def seconds(http: httpx.Client, text: str) -> float:
        begun = time.perf_counter()
        cached(http, text, SMOLLM2)
        return time.perf_counter() - begun

    mine, theirs, new = [], [], []
    for _ in range(PAIRS):
        text = a_text(100)
        seconds(owner, text)
        theirs.append(seconds(stranger, text))
        mine.append(seconds(owner, text))
        new.append(seconds(stranger, a_text(100)))
    print(f"again {median(mine):.3f} s, stranger {median(theirs):.3f}, new {median(new):.3f}")
    assert median(mine) < 0.7 * median(theirs)
    assert min(theirs) > 0.7 * min(new)
