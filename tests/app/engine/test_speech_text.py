"""What of a caller's text reaches a model that speaks."""

from hypothesis import given
from hypothesis import strategies as st

from app.engine.speech_text import is_spoken, plain


@given(st.text(st.characters(codec=None), max_size=200))
def test_what_is_left_of_any_text_is_text(text: str):
    left = plain(text)
    left.encode()
    assert not any(ord(character) < 32 or ord(character) == 127 for character in left)
    assert plain(left) == left


def test_a_nul_separates_words():
    assert plain("one\0two") == "one two"


def test_marks_of_direction_are_left_out():
    assert plain("\u202eabc\u202c") == "abc"


def test_joiners_stay_where_words_and_emoji_need_them():
    text = "می‌خواهم 👩‍🚀"
    assert plain(text) == text


def test_punctuation_alone_is_not_spoken():
    assert not is_spoken(plain(" ... ?! — \u200d \0 ,;:"))


def test_words_numbers_symbols_and_emoji_are_spoken():
    assert all(map(is_spoken, ["a", "7", "€", "&", "😀", "語"]))
