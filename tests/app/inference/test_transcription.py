"""One transcription's life: what is counted, what runs at once, in which order, and what aborts."""

import asyncio
import random
from contextlib import ExitStack

import numpy as np
import pytest

from app.engine.base import EngineDead, EngineOverloaded, PromptTooLong, Usage
from app.errors import ApiError
from app.inference.transcript import Transcript
from app.inference.transcription import Dictation, Transcribing
from tests.app.inference.stubs import BASE, CARD, REQUEST
from tests.app.inference.transcription_stubs import (
    MARGIN_SECONDS,
    STEP_SECONDS,
    TranscriptionRig,
    recording,
    said,
    silence,
)

ENGLISH = Dictation(language="en")
MADE_UP = said(" Thanks!", no_speech=0.9, avg_logprob=-1.5)


@pytest.fixture
def rig() -> TranscriptionRig:
    return TranscriptionRig()


async def transcribe(rig: TranscriptionRig, audio=None, how: Dictation = ENGLISH) -> Transcript:
    audio = recording(1) if audio is None else audio
    async with rig.inference.open(Transcribing, rig.context, BASE) as served:
        return await served.transcribe(audio, how)


async def refusal(rig: TranscriptionRig, audio=None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await transcribe(rig, audio)
    return caught.value


async def test_a_recording_is_heard_window_by_window_and_told_in_order(rig) -> None:
    transcript = await transcribe(rig, recording(3, 1, 2))
    assert transcript.text == "3 1 2"
    assert (transcript.language, transcript.duration) == ("en", 12.0)
    first, second, third = (segment.start for segment in transcript.segments)
    assert first == 0.5
    assert second == pytest.approx(STEP_SECONDS - MARGIN_SECONDS + 0.5)
    assert third == pytest.approx(2 * STEP_SECONDS - MARGIN_SECONDS + 0.5)


@pytest.mark.parametrize("seed", range(20))
async def test_windows_keep_their_order_whichever_is_heard_first(rig, seed: int) -> None:
    draw = random.Random(seed)
    rig.engine.pauses = iter(lambda: draw.randrange(30), -1)
    bursts = [draw.randrange(1, 10) for _ in range(12)]
    transcript = await transcribe(rig, recording(*bursts))
    assert transcript.text == " ".join(map(str, bursts))
    assert [segment.id for segment in transcript.segments] == list(range(12))
    starts = [segment.start for segment in transcript.segments]
    assert starts == sorted(starts)


async def test_a_quarter_of_what_the_engine_runs_is_heard_at_once(rig) -> None:
    rig.engine.pauses = iter(lambda: 3, -1)
    await transcribe(rig, recording(*range(1, 10)))
    assert rig.engine.most_running == CARD.max_running // 4


async def test_a_request_holds_one_place_for_all_its_windows(rig) -> None:
    rig.engine.gate = asyncio.Event()
    transcribing = asyncio.ensure_future(transcribe(rig, recording(1, 2, 3)))
    await rig.engine.waiting.wait()
    assert rig.admission.stats()[BASE].inside == {"on_demand": 1}
    rig.engine.gate.set()
    await transcribing
    assert rig.admission.stats()[BASE].inside == {"on_demand": 0}


async def test_every_call_of_the_engine_is_a_part_of_the_run_with_a_name_of_its_own(rig) -> None:
    rig.engine.answers = {1: [said(avg_logprob=-2.0), said()]}
    await transcribe(rig, recording(1, 2), Dictation())
    names = [run.request_id for run in rig.engine.runs]
    assert len(names) == 4
    assert sorted(names) == [f"{REQUEST}-{number}" for number in range(4)]


async def test_a_language_that_is_given_is_not_asked_for(rig) -> None:
    transcript = await transcribe(rig)
    assert transcript.language == "en"
    assert rig.engine.detected == []


async def test_the_first_window_tells_the_language_of_all(rig) -> None:
    transcript = await transcribe(rig, recording(4, 2), Dictation())
    assert transcript.language == "de"
    assert rig.engine.detected == [4]
    assert [how.language for _, how in rig.engine.heard] == ["de", "de"]


async def test_silence_before_the_first_word_tells_no_language(rig) -> None:
    await transcribe(rig, np.concatenate([silence(40), recording(5)]), Dictation())
    assert rig.engine.detected == [5]


async def test_the_model_is_told_what_is_asked(rig) -> None:
    how = Dictation("translate", "fr", context="Zoë", temperature=0.3)
    await transcribe(rig, how=how)
    ((_, listening),) = rig.engine.heard
    assert (listening.task, listening.language) == ("translate", "fr")
    assert (listening.context, listening.temperature) == ("Zoë", 0.3)


async def test_silence_is_never_given_to_the_model(rig) -> None:
    transcript = await transcribe(rig, silence(60), Dictation())
    assert (transcript.text, transcript.segments, transcript.language) == ("", [], None)
    assert transcript.duration == 60.0
    assert (rig.engine.heard, rig.engine.detected) == ([], [])


async def test_a_window_that_is_silent_by_the_model_s_measure_gives_nothing(rig) -> None:
    rig.engine.answers = {1: [MADE_UP]}
    transcript = await transcribe(rig, recording(1, 2), Dictation(language="en", wants_words=True))
    assert (transcript.text, [word.text for word in transcript.words]) == ("2", ["2"])
    assert [number for number, _ in rig.engine.aligned] == [2]


async def test_a_window_whose_answer_is_bad_is_heard_again_and_only_that(rig) -> None:
    rig.engine.answers = {2: [said(" bad", avg_logprob=-1.5), said(" good")]}
    transcript = await transcribe(rig, recording(1, 2, 3))
    assert transcript.text == "1 good 3"
    asked = sorted((number, how.temperature) for number, how in rig.engine.heard)
    assert asked == [(1, 0.0), (2, 0.0), (2, 0.2), (3, 0.0)]
    assert [segment.temperature for segment in transcript.segments] == [0.0, 0.2, 0.0]


async def test_words_are_aligned_where_they_are_asked_for(rig) -> None:
    rig.engine.answers = {2: [said(" bad", avg_logprob=-1.5), said(" two words")]}
    how = Dictation(language="en", wants_words=True)
    transcript = await transcribe(rig, recording(1, 2), how)
    assert [word.text for word in transcript.words] == ["1", "two", "words"]
    start = STEP_SECONDS - MARGIN_SECONDS + 0.5
    assert transcript.words[1].start == pytest.approx(start)
    assert transcript.words[1].end == pytest.approx(start + 0.25)
    assert sorted((number, how.temperature) for number, how in rig.engine.aligned) == [
        (1, 0.0),
        (2, 0.2),
    ]


async def test_words_are_not_aligned_otherwise(rig) -> None:
    assert (await transcribe(rig)).words == []
    assert rig.engine.aligned == []


async def test_a_window_without_text_is_not_aligned(rig) -> None:
    rig.engine.answers = {1: [said("")], 2: [said("  ")]}
    await transcribe(rig, recording(1, 2), Dictation(language="en", wants_words=True))
    assert rig.engine.aligned == []


@pytest.mark.parametrize(
    ("seconds", "counted"), [(0.5, 10.0), (10.0, 10.0), (10.5, 10.5), (61.0, 61.0)]
)
async def test_seconds_are_reserved_and_ten_of_them_at_least(rig, seconds, counted) -> None:
    await transcribe(rig, silence(seconds))
    (budget,) = rig.limits.budgets
    assert budget.seconds == [counted]
    assert rig.observer.audio_in == [(BASE, seconds)]


async def test_tokens_are_counted_for_metrics_and_not_against_the_limits(rig) -> None:
    rig.engine.answers = {1: [said(avg_logprob=-2.0), said()]}
    await transcribe(rig, recording(1, 2))
    assert rig.observer.usages == [(BASE, Usage(5, 3, 0, 0.0, 0.0, 0.0))] * 3
    (budget,) = rig.limits.budgets
    assert (budget.reserved, budget.settled) == ([], [0])


async def test_over_the_limit_of_seconds_nothing_is_heard(rig) -> None:
    rig.limits.no_seconds["on_demand"] = refused = ApiError(413, "too long", type="seconds")
    assert await refusal(rig) is refused
    assert (rig.engine.heard, rig.observer.audio_in) == ([], [])


async def test_a_context_that_is_too_long_is_refused_as_the_prompt(rig) -> None:
    rig.engine.context_refusal = PromptTooLong()
    async with rig.inference.open(Transcribing, rig.context, BASE) as served:
        with pytest.raises(ApiError) as caught:
            await served.check_context("word " * 300)
    assert (caught.value.status, caught.value.param) == (400, "prompt")
    assert caught.value.code == "context_length_exceeded"


async def test_no_context_is_not_checked(rig) -> None:
    async with rig.inference.open(Transcribing, rig.context, BASE) as served:
        await served.check_context("")
    assert rig.engine.contexts == []


@pytest.mark.parametrize("error", [EngineDead("gone"), EngineOverloaded("full")])
async def test_a_failing_window_ends_the_others_and_the_request(rig, error) -> None:
    rig.engine.pauses = iter([0, *[1000] * 20])
    rig.engine.answers = {1: [error]}
    assert (await refusal(rig, recording(1, 2, 3, 4))).status == 503
    assert rig.engine.running == 0
    assert 4 not in [number for number, _ in rig.engine.heard]


async def test_seconds_are_given_back_where_the_engine_fails(rig) -> None:
    rig.engine.answers = {1: [EngineDead("gone")]}
    assert (await refusal(rig)).status == 503
    assert [budget.seconds for budget in rig.limits.budgets] == [[]]


async def test_seconds_are_given_back_where_there_is_no_place(rig) -> None:
    async with rig.inference.open(Transcribing, rig.context, BASE) as served:
        with ExitStack() as others:
            for _ in range(5 * CARD.max_running):
                others.enter_context(rig.admission.enter(BASE, "on_demand", 1))
            with pytest.raises(ApiError) as caught:
                await served.transcribe(recording(1), ENGLISH)
    assert caught.value.status == 503
    assert [budget.seconds for budget in rig.limits.budgets] == [[]]


async def test_who_goes_away_pays_for_the_seconds(rig) -> None:
    rig.engine.gate = asyncio.Event()
    transcribing = asyncio.ensure_future(transcribe(rig))
    await rig.engine.waiting.wait()
    transcribing.cancel()
    await asyncio.wait([transcribing])
    assert [budget.seconds for budget in rig.limits.budgets] == [[10.0]]


async def test_cancelling_aborts_all_that_runs_and_gives_the_place_back(rig) -> None:
    rig.engine.gate = asyncio.Event()
    transcribing = asyncio.ensure_future(transcribe(rig, recording(1, 2, 3, 4)))
    await rig.engine.waiting.wait()
    await asyncio.sleep(0)
    assert rig.engine.running == 2
    transcribing.cancel()
    await asyncio.wait([transcribing])
    assert transcribing.cancelled()
    assert (rig.engine.running, rig.engine.aborted) == (0, 2)
    assert sum(rig.admission.stats()[BASE].inside.values()) == 0
    assert rig.limits.budgets[0].settled == [0]


async def test_the_next_tier_is_tried_where_one_has_no_seconds_left(rig) -> None:
    refused = ApiError(429, "no seconds left", type="seconds")
    rig.limits.no_seconds["performance"] = refused
    async with rig.inference.open(Transcribing, rig.context, BASE, "auto") as served:
        await served.transcribe(recording(1), ENGLISH)
        assert served.tier == "flex"
    assert [budget.seconds for budget in rig.limits.budgets] == [[], [10.0]]
