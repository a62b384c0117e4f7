"""When a window is heard again, and which answer is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.transcription import Heard
from app.inference.hearing import WARMER, Hearing, compression_ratio, heard_well
from tests.app.inference.transcription_stubs import said

GOOD = said(" A sentence that says something.")
REPEATING = said(" over and over" * 30)
UNLIKELY = said(" qwx", avg_logprob=-1.01)
MADE_UP = said(" Thanks for watching!", avg_logprob=-1.01, no_speech=0.61)


async def heard(*answers: Heard, temperature: float = 0.0) -> tuple[Hearing, list[float]]:
    """Hear the answers one after another, the last again and again; with what was asked."""
    asked: list[float] = []

    async def hear(degrees: float) -> Heard:
        asked.append(degrees)
        return answers[min(len(asked), len(answers)) - 1]

    return await heard_well(hear, temperature), asked


async def test_a_good_answer_is_kept() -> None:
    hearing, asked = await heard(GOOD)
    assert (hearing.heard, hearing.temperature, asked) == (GOOD, 0.0, [0.0])


@pytest.mark.parametrize("bad", [REPEATING, UNLIKELY])
async def test_a_bad_answer_is_asked_for_again_warmer_until_it_is_good(bad: Heard) -> None:
    hearing, asked = await heard(bad, bad, GOOD)
    assert (hearing.heard, hearing.temperature, asked) == (GOOD, 0.4, [0.0, 0.2, 0.4])


async def test_a_temperature_that_is_asked_for_is_the_only_one() -> None:
    hearing, asked = await heard(REPEATING, temperature=0.3)
    assert (hearing.heard, hearing.temperature, asked) == (REPEATING, 0.3, [0.3])


@pytest.mark.parametrize("made_up", [MADE_UP, said(" you" * 90, avg_logprob=-0.1, no_speech=0.61)])
async def test_silence_is_not_asked_about_again(made_up: Heard) -> None:
    hearing, asked = await heard(made_up)
    assert hearing.is_silence
    assert asked == [0.0]


@pytest.mark.parametrize(
    "not_silence",
    [said(no_speech=0.99), said(no_speech=0.6, avg_logprob=-1.5), said(avg_logprob=-1.0)],
)
async def test_one_sign_alone_is_no_silence(not_silence: Heard) -> None:
    assert not (await heard(not_silence))[0].is_silence


@pytest.mark.parametrize("at_the_threshold", [said(avg_logprob=-1.0), said("")])
async def test_what_is_just_good_enough_is_kept(at_the_threshold: Heard) -> None:
    assert (await heard(at_the_threshold))[1] == [0.0]


async def test_of_bad_answers_the_likeliest_that_does_not_repeat_itself_is_kept() -> None:
    likely = said(" b", avg_logprob=-1.2)
    hearing, asked = await heard(REPEATING, UNLIKELY, likely, said(" c", avg_logprob=-1.4))
    assert asked == [0.0, *WARMER]
    assert hearing.heard is UNLIKELY
    hearing, _ = await heard(REPEATING, said(" c", avg_logprob=-1.4), likely, REPEATING)
    assert (hearing.heard, hearing.temperature) == (likely, 0.4)


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_the_ratio_is_of_bytes_to_compressed_bytes(text: str) -> None:
    ratio = compression_ratio(text)
    assert 0 <= ratio <= max(len(text.encode()), 1)
    assert (ratio == 0) == (text == "")
    assert compression_ratio(text * 50) >= ratio
