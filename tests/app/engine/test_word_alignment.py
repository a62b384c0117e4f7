"""Tokens become words, and a path through attention becomes moments; no model runs."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from app.engine.whisper_tokens import WhisperText
from app.engine.word_alignment import Matrix, entered, grouped


@pytest.fixture(scope="module")
def text(whisper_base: Path) -> WhisperText:
    return WhisperText(AutoTokenizer.from_pretrained(whisper_base))


def words(text: WhisperText, sentence: str, language: str = "en") -> list[str]:
    return [word.text for word in grouped(text.encode(sentence), text.decode, language)]


def test_words_are_parted_by_spaces_and_keep_their_punctuation(text: WhisperText):
    said = words(text, ' She said, "Unbelievable!" - and left.')
    assert said == [" She", " said,", ' "Unbelievable!"', " - and", " left."]


def test_long_words_are_one_though_they_are_many_tokens(text: WhisperText):
    said = grouped(text.encode(" Donaudampfschifffahrt fährt"), text.decode, "de")
    assert [word.text for word in said] == [" Donaudampfschifffahrt", " fährt"]
    assert said[0].tokens > 3


def test_languages_without_spaces_are_parted_by_characters(text: WhisperText):
    said = words(text, "今日はいい天気ですね。", "ja")
    assert "".join(said) == "今日はいい天気ですね。"
    assert len(said) > 4
    assert said[-1].endswith("。")
    assert "。" not in said


def test_half_characters_are_put_together(text: WhisperText):
    said = words(text, " 𝄞 clef")
    assert said == [" 𝄞", " clef"]


@given(st.text(max_size=60), st.sampled_from(["en", "ja"]))
def test_every_token_is_part_of_one_word(text: WhisperText, sentence: str, language: str):
    ids = text.encode(sentence)
    assert sum(word.tokens for word in grouped(ids, text.decode, language)) == len(ids)


def diagonal(starts: Sequence[int], frames: int) -> Matrix:
    """Return attention that lies on each token from its start to that of the next."""
    looked_at = np.zeros((len(starts), frames), dtype=np.float32)
    for token, (begin, end) in enumerate(zip(starts, [*starts[1:], frames], strict=True)):
        looked_at[token, begin:end] = 1.0
    return looked_at


@given(st.sets(st.integers(1, 199), min_size=1, max_size=30))
def test_the_path_enters_tokens_where_attention_moves_to_them(places: set[int]):
    starts = [0, *sorted(places)]
    assert entered(diagonal(starts, 200)).tolist() == starts


def test_noise_does_not_turn_the_path_back():
    noise = np.random.default_rng(3).standard_normal((40, 300)).astype(np.float32)
    moments = entered(noise)
    assert moments[0] == 0
    assert (np.diff(moments) >= 0).all()
    assert moments[-1] < 300


def test_more_tokens_than_frames_still_have_moments():
    moments = entered(np.ones((30, 5), dtype=np.float32))
    assert len(moments) == 30
    assert (np.diff(moments) >= 0).all()


def test_a_whole_window_takes_a_fraction_of_a_second():
    noise = np.random.default_rng(4).standard_normal((225, 1500)).astype(np.float32)
    before = time.process_time()
    entered(noise)
    assert time.process_time() - before < 1.0
