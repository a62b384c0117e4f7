"""One real engine: what goes in, what comes out, what is left behind."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.engine.base import PromptRefused, PromptTooLong, Sampling
from tests.fixtures.engines import GREEDY, MODEL_ID, TinyEngine
from tests.fixtures.tiny_llama import CONTEXT

pytestmark = pytest.mark.engine

LONG = Sampling(temperature=0.0, max_tokens=600)
# Longer than one block of vLLM's prefix cache on the CPU, which is 128 tokens.
LONG_PROMPT = "All work and no play makes this a long prompt. " * 8


def _metric(tiny: TinyEngine, name: str) -> float:
    value = _registry(tiny).get_sample_value(name, {"model_name": MODEL_ID, "engine": "0"})
    assert value is not None
    return value


def _registry(tiny: TinyEngine) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(tiny.engines.metrics)
    return registry


async def _idle(tiny: TinyEngine) -> None:
    async with asyncio.timeout(20):
        while _metric(tiny, "vllm:num_requests_running") > 0:
            # The engine reports its state with the next step of any request.
            await tiny.text(tiny.job("tick", sampling=replace(GREEDY, max_tokens=1)))


async def test_a_stream_says_the_same_as_one_answer(tiny_engine: TinyEngine):
    stream = await tiny_engine.deltas(tiny_engine.job())
    (whole,) = await tiny_engine.deltas(tiny_engine.job(stream=False))
    assert "".join(delta.text for delta in stream) == whole.text
    assert len(stream) > 1
    assert len(whole.text) == GREEDY.max_tokens


async def test_reason_and_usage_come_with_the_last_delta_only(tiny_engine: TinyEngine):
    *early, last = await tiny_engine.deltas(tiny_engine.job())
    assert all(delta.finish_reason is None and delta.usage is None for delta in early)
    assert last.finish_reason == "length"
    assert last.usage is not None


@pytest.mark.parametrize("stream", [True, False])
async def test_usage_counts_tokens_and_seconds(tiny_engine: TinyEngine, stream: bool):
    deltas = await tiny_engine.deltas(tiny_engine.job("hello", stream=stream))
    usage = deltas[-1].usage
    assert usage is not None
    # One token a byte; the template's marks are one token each.
    assert usage.prompt_tokens == len("<user:hello><assistant:")
    assert usage.completion_tokens == GREEDY.max_tokens
    assert 0 <= usage.queue_seconds < 10
    assert 0 < usage.prompt_seconds < 10
    assert 0 < usage.completion_seconds < 10


async def test_a_stop_string_ends_the_answer_and_is_not_in_it(tiny_engine: TinyEngine):
    text = await tiny_engine.text(tiny_engine.job())
    job = tiny_engine.job(sampling=replace(GREEDY, stop=(text[6:9],)))
    deltas = await tiny_engine.deltas(job)
    assert "".join(delta.text for delta in deltas) == text[: text.index(text[6:9])]
    assert deltas[-1].finish_reason == "stop"


async def test_text_that_is_held_back_makes_no_empty_delta(tiny_engine: TinyEngine):
    """vLLM holds back as many characters as a stop string is long, less one."""
    job = tiny_engine.job(sampling=replace(GREEDY, stop=("never said",)))
    deltas = await tiny_engine.deltas(job)
    assert all(delta.text for delta in deltas[:-1])
    assert len("".join(delta.text for delta in deltas)) == GREEDY.max_tokens


async def test_a_seed_makes_sampling_reproducible(tiny_engine: TinyEngine):
    def ask(seed: int) -> asyncio.Future[str]:
        sampling = Sampling(temperature=1.5, max_tokens=24, seed=seed)
        return asyncio.ensure_future(tiny_engine.text(tiny_engine.job(sampling=sampling)))

    first, again, other = await asyncio.gather(ask(7), ask(7), ask(8))
    assert first == again != other


async def test_without_a_limit_an_answer_fills_the_context(tiny_engine: TinyEngine):
    job = tiny_engine.job("x" * 980, sampling=Sampling(temperature=0.0))
    usage = (await tiny_engine.deltas(job))[-1].usage
    assert usage is not None
    assert usage.prompt_tokens + usage.completion_tokens == CONTEXT


@pytest.mark.parametrize("length", [CONTEXT - 18, CONTEXT, 50 * CONTEXT])
async def test_a_prompt_without_room_for_an_answer_is_too_long(
    tiny_engine: TinyEngine, length: int
):
    with pytest.raises(PromptTooLong):
        await tiny_engine.text(tiny_engine.job("x" * length))


async def test_what_the_chat_template_refuses_is_the_callers_error(tiny_engine: TinyEngine):
    job = replace(tiny_engine.job(), messages=[{"role": "tool", "content": "x"}])
    with pytest.raises(PromptRefused) as caught:
        await tiny_engine.text(job)
    assert "unknown role" not in str(caught.value)


async def test_closing_the_iterator_frees_the_engine(tiny_engine: TinyEngine):
    async with aclosing(tiny_engine.generate(tiny_engine.job(sampling=LONG))) as deltas:
        await anext(deltas)
    before = _metric(tiny_engine, "vllm:generation_tokens_total")
    await _idle(tiny_engine)
    assert _metric(tiny_engine, "vllm:num_requests_running") == 0
    assert _metric(tiny_engine, "vllm:generation_tokens_total") - before < 200


async def test_cancelling_the_reader_frees_the_engine(tiny_engine: TinyEngine):
    started = asyncio.Event()

    async def read() -> None:
        async for _ in tiny_engine.generate(tiny_engine.job(sampling=LONG)):
            started.set()

    reader = asyncio.ensure_future(read())
    async with asyncio.timeout(20):
        await started.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await _idle(tiny_engine)
    assert _metric(tiny_engine, "vllm:num_requests_running") == 0


async def _cached_tokens(tiny: TinyEngine, salt: str) -> int:
    usage = (await tiny.deltas(tiny.job(LONG_PROMPT, cache_salt=salt)))[-1].usage
    assert usage is not None
    return usage.cached_tokens


async def test_the_prefix_cache_is_shared_within_a_salt_and_not_across(tiny_engine: TinyEngine):
    assert await _cached_tokens(tiny_engine, "org-1") == 0
    assert await _cached_tokens(tiny_engine, "org-1") > 0
    assert await _cached_tokens(tiny_engine, "org-2") == 0


async def test_a_living_engine_passes_its_check(tiny_engine: TinyEngine):
    await tiny_engine.engine.check()


async def test_the_card_says_what_the_catalog_says(tiny_engine: TinyEngine):
    card = tiny_engine.engine.card
    assert (card.id, card.context_window, card.max_completion_tokens) == (
        MODEL_ID,
        CONTEXT,
        CONTEXT,
    )


async def test_vllms_metrics_carry_the_models_name(tiny_engine: TinyEngine):
    await tiny_engine.text(tiny_engine.job())
    lines = generate_latest(_registry(tiny_engine)).decode().splitlines()
    head = f'vllm:generation_tokens_total{{engine="0",model_name="{MODEL_ID}"}} '
    (line,) = (line for line in lines if line.startswith(head))
    assert float(line.removeprefix(head)) >= GREEDY.max_tokens
    assert any(line.startswith("vllm:cache_config_info{") for line in lines)
    assert not any("lora_requests_info" in line for line in lines)
