"""One spoken request's life: what is checked, reserved, held, told and given back."""

import asyncio
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from app.engine.base import EngineDead, EngineError, EngineOverloaded, PromptRefused, PromptTooLong
from app.engine.speech import Sound
from app.errors import ApiError
from app.inference.speech import LISTED_CHARACTERS, Speaking
from tests.app.inference.speech_stubs import (
    MAX_CHARACTERS,
    RATE,
    SpeechRig,
    StubSpeechPrompt,
    sound,
)
from tests.app.inference.stubs import ADAPTER_MODEL, BASE

SILENCE = Sound(np.zeros(0, np.float32))


@pytest.fixture
def rig() -> SpeechRig:
    return SpeechRig()


async def speak(
    rig: SpeechRig, text: str = "Hello.", voice: str = "troy", model: str = BASE
) -> list[Sound]:
    async with rig.inference.open(Speaking, rig.context, model) as served:
        prompt = await served.prepare(text, voice)
        async with aclosing(served.speak(prompt)) as sounds:
            return [each async for each in sounds]


async def refusal(rig: SpeechRig, **asked: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await speak(rig, **asked)
    return caught.value


def charges(rig: SpeechRig) -> list[tuple[list[int], list[int]]]:
    return [(budget.reserved, budget.settled) for budget in rig.limits.budgets]


async def test_the_engine_is_given_text_voice_and_the_organisation_s_salt(rig: SpeechRig) -> None:
    rig.engine.script = [sound()]
    await speak(rig, "Hi!", "hannah")
    (job,) = rig.engine.jobs
    assert (job.text, job.voice) == ("Hi!", "hannah")
    assert job.cache_salt.startswith("salt of org_")


async def test_sounds_come_in_order_and_their_seconds_are_told(rig: SpeechRig) -> None:
    rig.engine.script = [sound(0.25), sound(0.5)]
    assert [len(each.samples) for each in await speak(rig)] == [RATE // 4, RATE // 2]
    assert rig.observer.audio_out == [(BASE, 0.75)]


async def test_what_might_be_generated_is_reserved_and_what_was_is_paid(rig: SpeechRig) -> None:
    rig.engine.prompt = StubSpeechPrompt(tokens=9, max_tokens=1200)
    rig.engine.script = [sound(tokens=28), sound(tokens=7)]
    await speak(rig)
    assert charges(rig) == [([1209], [44])]
    ((_, usage),) = rig.observer.usages
    assert (usage.prompt_tokens, usage.completion_tokens) == (9, 35)


async def test_a_model_without_tokens_takes_none_from_the_limits(rig: SpeechRig) -> None:
    rig.engine.script = [sound()]
    await speak(rig)
    assert charges(rig) == [([0], [0])]


async def test_the_first_sound_is_told_once_silence_does_not_count(rig: SpeechRig) -> None:
    rig.engine.script = [SILENCE, sound(), sound()]
    await speak(rig)
    ((model, seconds),) = rig.observer.first_tokens
    assert model == BASE
    assert seconds > 0


async def test_a_text_of_the_greatest_length_is_spoken(rig: SpeechRig) -> None:
    rig.engine.script = [sound()]
    assert await speak(rig, "x" * MAX_CHARACTERS)


async def test_a_longer_text_is_refused_with_both_lengths(rig: SpeechRig) -> None:
    answer = await refusal(rig, text="x" * (MAX_CHARACTERS + 1))
    assert (answer.status, answer.param) == (400, "input")
    assert answer.message == (
        "'input' : this model speaks at most 200 characters in one request, and there are 201"
    )
    assert rig.engine.jobs == []


async def test_an_unknown_voice_is_refused_with_the_voices_there_are(rig: SpeechRig) -> None:
    answer = await refusal(rig, voice="alloy")
    assert (answer.status, answer.param) == (400, "voice")
    assert answer.message == ("'voice' : `alloy` is not one of this model's voices [troy, hannah]")


async def test_of_a_thousand_voices_some_are_listed(
    rig: SpeechRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.engine, "voices", [f"speaker {number}" for number in range(1000)])
    answer = await refusal(rig, voice="x" * 10_000)
    assert len(answer.message) < LISTED_CHARACTERS + 300


async def test_the_place_and_the_adapter_are_held_until_the_last_sound(rig: SpeechRig) -> None:
    last = asyncio.Event()
    rig.engine.script = [sound(), last, sound()]
    speaking = asyncio.ensure_future(speak(rig, model=ADAPTER_MODEL))
    await rig.engine.waiting.wait()
    assert rig.adapters.held == 1
    assert sum(rig.admission.stats()[BASE].inside.values()) == 1
    last.set()
    await speaking
    assert rig.adapters.held == 0
    assert sum(rig.admission.stats()[BASE].inside.values()) == 0
    assert rig.engine.runs[0].adapter is not None


async def test_closing_early_aborts_and_pays_for_what_was_made(rig: SpeechRig) -> None:
    rig.engine.prompt = StubSpeechPrompt(tokens=9, max_tokens=1200)
    rig.engine.script = [sound(0.5, tokens=28), sound(tokens=7)]
    async with rig.inference.open(Speaking, rig.context, BASE) as served:
        prompt = await served.prepare("Hello.", "troy")
        async with aclosing(served.speak(prompt)) as sounds:
            await anext(sounds)
        assert rig.engine.running == 0
    assert charges(rig) == [([1209], [37])]
    assert rig.observer.cut == [(BASE, 9, 28)]
    assert rig.observer.audio_out == [(BASE, 0.5)]
    assert rig.observer.usages == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EngineDead("pid 7"), 503),
        (EngineOverloaded(), 503),
        (EngineError("cuda"), 500),
        (PromptRefused("Not this."), 400),
    ],
)
async def test_what_fails_is_not_paid(rig: SpeechRig, error: EngineError, status: int) -> None:
    rig.engine.prompt = StubSpeechPrompt(tokens=9, max_tokens=1200)
    rig.engine.script = [sound(tokens=28), error]
    answer = await refusal(rig)
    assert answer.status == status
    assert charges(rig) == [([1209], [0])]
    assert rig.observer.cut == [(BASE, 9, 28)]


@pytest.mark.parametrize("script", [[], [SILENCE]])
async def test_an_input_of_which_no_sound_comes_is_refused(
    rig: SpeechRig, script: list[Sound]
) -> None:
    rig.engine.script = script
    answer = await refusal(rig)
    assert (answer.status, answer.param) == (400, "input")
    assert answer.message == "No speech could be made of this input."


async def test_tokens_that_were_no_sound_are_paid_for(rig: SpeechRig) -> None:
    rig.engine.prompt = StubSpeechPrompt(tokens=9, max_tokens=1200)
    rig.engine.script = [Sound(SILENCE.samples, tokens=1200)]
    assert (await refusal(rig)).status == 400
    assert charges(rig) == [([1209], [1209])]
    assert rig.observer.cut == []


async def test_a_text_that_the_engine_cannot_take_is_refused_before_it_is_paid(
    rig: SpeechRig,
) -> None:
    rig.engine.refusal = PromptTooLong()
    answer = await refusal(rig)
    assert (answer.code, answer.param) == ("context_length_exceeded", "input")
    assert charges(rig) == [([], [0])]
