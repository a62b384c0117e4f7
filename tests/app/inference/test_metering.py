"""What a request is recorded with, however it ends: what it is charged for, and once."""

from contextlib import aclosing
from dataclasses import replace

import pytest

from adapters_registry.errors import AdapterLoadFailed
from app.adapters.resolver import ResolvedModel
from app.engine.base import AnswerUnreadable, ChatJob, Delta, EngineDead, Sampling
from app.engine.pooling import EmbeddingJob
from app.errors import ApiError
from app.inference.generation import Generation
from app.inference.pooling import Embedding
from app.inference.speech import Speaking
from app.inference.transcription import Dictation, Transcribing
from app.pools.directory import Pool, ServedElsewhere
from app.usage.tally import Tally
from app.usage.types import Account, Amounts
from tests.app.inference.pooling_stubs import PoolingRig
from tests.app.inference.speech_stubs import SpeechRig, sound
from tests.app.inference.stubs import (
    ADAPTER_MODEL,
    BASE,
    ORG,
    USAGE,
    InferenceRig,
    StubBudget,
    answer,
)
from tests.app.inference.transcription_stubs import TranscriptionRig, recording, silence

JOB = ChatJob([{"role": "user", "content": "hi"}], Sampling(max_tokens=50), "salt")
CHARGED = Amounts(1, USAGE.prompt_tokens, USAGE.cached_tokens, USAGE.completion_tokens)
MINE = Account(ORG, "key_1", BASE, "", False)


@pytest.fixture
def rig() -> InferenceRig:
    rig = InferenceRig()
    rig.engine.script = answer("a", "b")
    return rig


def recorded(tally: Tally) -> dict[Account, Amounts]:
    return {entry.account: amounts for entry, amounts in tally.sums.items()}


async def ask(rig: InferenceRig, model: str = BASE, *, pieces: int = 99) -> None:
    async with (
        rig.inference.open(Generation, rig.context, model) as served,
        aclosing(served.generate(await served.prepare(JOB))) as deltas,
    ):
        async for _ in deltas:
            pieces -= 1
            if not pieces:
                return


async def test_a_request_is_recorded_with_its_tokens(rig: InferenceRig) -> None:
    await ask(rig)
    await ask(rig)
    assert recorded(rig.ledger) == {MINE: CHARGED.plus(CHARGED)}


async def test_cached_tokens_are_told_beside_those_of_the_prompt(rig: InferenceRig) -> None:
    rig.engine.script = answer("a", usage=replace(USAGE, cached_tokens=5))
    await ask(rig)
    assert recorded(rig.ledger) == {MINE: CHARGED._replace(cached_tokens=5)}


async def test_an_adapter_is_recorded_by_its_immutable_id(rig: InferenceRig) -> None:
    await ask(rig, ADAPTER_MODEL)
    assert recorded(rig.ledger) == {MINE._replace(adapter=ADAPTER_MODEL): CHARGED}


async def test_several_runs_of_a_request_are_one_request(rig: InferenceRig) -> None:
    async with rig.inference.open(Generation, rig.context, BASE) as served:
        for prompt in await served.prepare_all([JOB, JOB]):
            async with aclosing(served.generate(prompt)) as deltas:
                async for _ in deltas:
                    pass
    assert recorded(rig.ledger) == {MINE: CHARGED.plus(CHARGED)._replace(requests=1)}


async def test_a_stream_that_is_cut_is_recorded_with_what_was_generated(rig: InferenceRig) -> None:
    await ask(rig, pieces=1)
    assert recorded(rig.ledger) == {MINE: Amounts(1, USAGE.prompt_tokens, 0, 1)}


async def test_what_cannot_be_read_was_generated_all_the_same(rig: InferenceRig) -> None:
    rig.engine.script = [Delta("a", tokens=3), AnswerUnreadable("a")]
    with pytest.raises(ApiError):
        await ask(rig)
    assert recorded(rig.ledger) == {MINE: Amounts(1, USAGE.prompt_tokens, 0, 3)}


async def test_what_the_server_fails_at_is_not_recorded(rig: InferenceRig) -> None:
    rig.engine.script = [Delta("a", tokens=3), EngineDead()]
    with pytest.raises(ApiError):
        await ask(rig)
    assert recorded(rig.ledger) == {}


async def test_what_is_refused_is_not_recorded(rig: InferenceRig) -> None:
    rig.adapters.error = AdapterLoadFailed("d")
    for model in (ADAPTER_MODEL, "unknown"):
        with pytest.raises(ApiError):
            await ask(rig, model)
    assert recorded(rig.ledger) == {}


async def test_a_line_of_a_batch_is_recorded_by_whoever_asks_it(rig: InferenceRig) -> None:
    tally = Tally()
    rig.context = replace(rig.context, is_batch=True, ledger=tally)
    await ask(rig)
    assert recorded(tally) == {MINE._replace(is_batch=True): CHARGED}
    assert recorded(rig.ledger) == {}


async def test_usage_is_recorded_where_the_limits_cannot_be_settled(
    rig: InferenceRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def settle(budget: StubBudget, *, tokens: int) -> None:
        raise ConnectionError

    monkeypatch.setattr(StubBudget, "settle", settle)
    with pytest.raises(ConnectionError):
        await ask(rig)
    assert recorded(rig.ledger) == {MINE: CHARGED}


async def test_embeddings_are_recorded_with_the_tokens_of_all_inputs() -> None:
    rig = PoolingRig("embedding")
    async with rig.inference.open(Embedding, rig.context, BASE) as served:
        job = EmbeddingJob(["one", "two"], served.cache_salt)
        prompts = await served.prepare(job, estimated_tokens=6)
        await served.pool(prompts)
    total = sum(prompt.tokens for prompt in prompts)
    assert recorded(rig.ledger) == {MINE: Amounts(requests=1, prompt_tokens=total)}


async def test_speech_is_recorded_with_its_characters_and_seconds() -> None:
    rig = SpeechRig()
    rig.engine.script = [sound(0.25), sound(0.5)]
    async with rig.inference.open(Speaking, rig.context, BASE) as served:
        prompt = await served.prepare("Hello.", "troy")
        async with aclosing(served.speak(prompt)) as sounds:
            async for _ in sounds:
                pass
    [amounts] = recorded(rig.ledger).values()
    assert (amounts.requests, amounts.input_characters, amounts.output_audio_ms) == (1, 6, 750)
    assert amounts.prompt_tokens == prompt.tokens


async def transcribe(rig: TranscriptionRig) -> None:
    async with rig.inference.open(Transcribing, rig.context, BASE) as served:
        await served.transcribe(recording(1), Dictation(language="en"))


async def test_transcriptions_are_recorded_with_seconds_and_tokens() -> None:
    rig = TranscriptionRig()
    await transcribe(rig)
    [amounts] = recorded(rig.ledger).values()
    told = [usage for _, usage in rig.observer.usages]
    assert (amounts.requests, amounts.input_audio_ms) == (
        1,
        round(rig.observer.audio_in[0][1] * 1000),
    )
    assert amounts.prompt_tokens == sum(usage.prompt_tokens for usage in told)
    assert amounts.completion_tokens == sum(usage.completion_tokens for usage in told)
    assert [budget.settled for budget in rig.limits.budgets] == [[0]]


async def test_silence_that_is_not_heard_is_recorded_by_its_seconds() -> None:
    rig = TranscriptionRig()
    async with rig.inference.open(Transcribing, rig.context, BASE) as served:
        await served.transcribe(silence(3.0), Dictation(language="en"))
    assert recorded(rig.ledger) == {MINE: Amounts(requests=1, input_audio_ms=3000)}


async def test_seconds_that_are_given_back_are_not_recorded() -> None:
    rig = TranscriptionRig()
    rig.engine.answers = {1: [EngineDead()]}
    with pytest.raises(ApiError):
        await transcribe(rig)
    assert recorded(rig.ledger) == {}


async def test_what_another_pool_serves_is_counted_there_alone(
    rig: InferenceRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def elsewhere(org_id: str, model: str) -> ResolvedModel:
        raise ServedElsewhere(Pool("http://elsewhere", (model,)), model)

    monkeypatch.setattr(rig.resolver, "resolve", elsewhere)
    with pytest.raises(ServedElsewhere):
        await ask(rig)
    assert rig.limits.budgets == []
    assert recorded(rig.ledger) == {}
    assert rig.context.headers == {}
    assert rig.observer.used_amounts == []
