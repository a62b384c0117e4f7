"""Tokens with stamps become segments, whatever the model leaves out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from app.engine.transcription import Segment
from app.engine.whisper_outputs import Token, mean, segments
from app.engine.whisper_tokens import WhisperText
from tests.fixtures.whisper_words import FIRST_STAMP, TOKENS, stamp

SECONDS = 10.0


@pytest.fixture(scope="module")
def text(whisper_base: Path) -> WhisperText:
    return WhisperText(AutoTokenizer.from_pretrained(whisper_base))


def answer(text: WhisperText, *parts: float | str) -> list[Token]:
    """Return an answer of stamps and text, and its end; every token's logprob is -0.5."""
    ids: list[int] = []
    for part in parts:
        ids += text.encode(part) if isinstance(part, str) else [stamp(part)]
    return [Token(id, -0.5) for id in [*ids, TOKENS.end]]


def read(text: WhisperText, *parts: float | str) -> list[tuple[float, float, str]]:
    found = segments(answer(text, *parts), TOKENS, text, SECONDS)
    return [(segment.start, segment.end, segment.text) for segment in found]


def test_pairs_of_stamps_enclose_segments(text: WhisperText):
    assert read(text, 0.0, " One.", 2.0, 2.5, " Two.", 4.0) == [
        (0.0, 2.0, " One."),
        (2.5, 4.0, " Two."),
    ]


def test_a_segment_that_is_not_closed_ends_with_the_window(text: WhisperText):
    assert read(text, 0.0, " One.", 2.0, 2.0, " Two") == [
        (0.0, 2.0, " One."),
        (2.0, SECONDS, " Two"),
    ]


def test_text_without_stamps_is_one_segment_of_the_whole_window(text: WhisperText):
    assert read(text, " One two.") == [(0.0, SECONDS, " One two.")]


def test_a_single_stamp_ends_one_segment_and_begins_the_next(text: WhisperText):
    assert read(text, 0.5, " One.", 2.0, " Two.", 4.0) == [
        (0.5, 2.0, " One."),
        (2.0, 4.0, " Two."),
    ]


def test_stamps_beyond_the_window_are_its_end(text: WhisperText):
    assert read(text, 9.0, " One.", 29.98) == [(9.0, SECONDS, " One.")]


def test_stamps_that_go_back_do_not_take_time_back(text: WhisperText):
    assert read(text, 3.0, " One.", 1.0, 2.0, " Two.", 4.0) == [
        (3.0, 3.0, " One."),
        (3.0, 4.0, " Two."),
    ]


def test_nothing_said_is_no_segment(text: WhisperText):
    assert read(text, 0.0) == []
    assert read(text, 0.0, " ", 2.0) == []


def test_a_segment_keeps_its_text_tokens_only(text: WhisperText):
    (segment,) = segments(answer(text, 0.0, " One two.", 2.0), TOKENS, text, SECONDS)
    assert list(segment.tokens) == text.encode(" One two.")


def test_a_segment_is_as_probable_as_its_text_and_stamps(text: WhisperText):
    (id,) = text.encode(" One")
    parts = [Token(stamp(0), -0.3), Token(id, -0.6), Token(stamp(1), -0.9), Token(TOKENS.end, -9)]
    (segment,) = segments(parts, TOKENS, text, SECONDS)
    assert segment.avg_logprob == pytest.approx(-0.6)


def test_the_mean_of_nothing_is_nothing():
    assert mean([]) == 0.0


@given(st.lists(st.integers(0, FIRST_STAMP + 1500), max_size=40))
def test_any_tokens_make_segments_in_order_within_the_window(text: WhisperText, ids: list[int]):
    found = segments([Token(id, -1.0) for id in ids], TOKENS, text, SECONDS)
    times = [time for segment in found for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert all(0 <= time <= SECONDS for time in times)
    said = [id for segment in found for id in segment.tokens]
    assert all(isinstance(segment, Segment) for segment in found)
    assert all(id < TOKENS.end for id in said)
