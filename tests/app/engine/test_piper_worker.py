"""How sentences are taken apart, and what frames look like."""

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.engine.piper_worker import (
    FIRST_PHONEMES,
    MOST_PHONEMES,
    frame,
    frames,
    levelled,
    parts,
)

SENTENCES = st.lists(st.lists(st.sampled_from("abcˈː ,;.!"), max_size=900), max_size=4)


def _is_mute(phonemes: str) -> bool:
    return not any(each in "abcˈː" for each in phonemes)


@given(SENTENCES)
def test_nothing_that_sounds_is_lost_and_no_part_is_too_long(sentences: list[list[str]]):
    made = list(parts(sentences))
    kept = "".join("".join(part) for part in made)
    whole = "".join(map("".join, sentences))
    assert [each for each in kept if each in "abcˈː"] == [each for each in whole if each in "abcˈː"]
    assert all(0 < len(part) <= MOST_PHONEMES for part in made)
    assert not any(_is_mute("".join(part)) for part in made)
    assert all(len(part) <= FIRST_PHONEMES for part in made[:1])


def test_short_sentences_stay_whole():
    sentences = ["abc.", "cab."]
    assert list(parts(sentences)) == sentences


def test_a_long_sentence_is_cut_behind_a_clause():
    clause = "ab " * 20 + "c, "
    first, *_ = parts([clause * 10])
    assert first == clause


def test_a_sentence_without_clauses_is_cut_behind_a_word():
    first, *_ = parts(["abc " * 200])
    assert first.endswith("c ")
    assert FIRST_PHONEMES - 4 <= len(first) <= FIRST_PHONEMES


def test_a_quiet_part_comes_to_full_level():
    assert np.abs(levelled(np.array([0.0, -0.25, 0.1], np.float32))).max() == 1.0


def test_silence_and_nothing_at_all_stay_what_they_are():
    assert not levelled(np.zeros((1, 8), np.float32)).any()
    assert levelled(np.zeros(0, np.float32)).shape == (0,)


def test_frames_are_read_until_the_stream_ends():
    first, second = {"kind": "speak", "text": "é\ud800"}, {"kind": "cancel", "id": 7}
    stream = io.BytesIO(frame(first, b"body") + frame(second) + b"\0\0")
    assert list(frames(stream)) == [first, second]
