"""Text jobs on a real engine: what is refused before it runs, and how a prompt is told."""

import pytest

from app.engine.base import PromptRefused, PromptTooLong, Sampling, TextJob
from tests.fixtures.engines import GREEDY, TinyEngine
from tests.fixtures.tiny_llama import CONTEXT

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


def job(prompt: str | list[int], *, echo: bool = False, sampling: Sampling = GREEDY) -> TextJob:
    return TextJob(prompt, sampling, "tenant-a", echo=echo)


@pytest.fixture
def size(tiny_engine: TinyEngine) -> int:
    engine: object = tiny_engine.engine
    return int(engine._llm.model_config.get_vocab_size())  # type: ignore[attr-defined]


async def test_the_last_token_of_the_vocabulary_may_be_used_and_no_later_one(
    tiny_engine: TinyEngine, size: int
) -> None:
    assert (await tiny_engine.deltas(job([1, size - 1])))[-1].usage
    for outside in (size, 10**30, -1):
        with pytest.raises(PromptRefused, match="not in this model's vocabulary"):
            await tiny_engine.engine.prepare(job([1, outside], echo=True))


@pytest.mark.parametrize("prompt", ["Say something.", [5, 6, 7]])
async def test_a_prompt_is_told_where_its_job_asks_for_it(
    tiny_engine: TinyEngine, prompt: str | list[int]
) -> None:
    told = await tiny_engine.engine.prepare(job(prompt, echo=True))
    silent = await tiny_engine.engine.prepare(job(prompt))
    assert told.text
    assert not isinstance(prompt, str) or told.text == prompt
    assert (silent.text, silent.tokens) == ("", told.tokens)


async def test_echo_changes_nothing_of_the_answer(tiny_engine: TinyEngine) -> None:
    prompt = "Say something."
    plain = await tiny_engine.text(job(prompt))
    assert await tiny_engine.text(job(prompt, echo=True)) == plain


async def test_more_token_ids_than_the_context_holds_are_too_long(tiny_engine: TinyEngine) -> None:
    with pytest.raises(PromptTooLong):
        await tiny_engine.engine.prepare(job([5] * CONTEXT))


@pytest.mark.parametrize("prompt", ["", []])
async def test_an_empty_prompt_is_refused_before_it_runs(
    tiny_engine: TinyEngine, prompt: str | list[int]
) -> None:
    with pytest.raises(PromptRefused, match="is empty"):
        await tiny_engine.engine.prepare(job(prompt))
