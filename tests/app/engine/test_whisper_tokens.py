"""Ids of whisper-base's own tokenizer, and text that never becomes a control token."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, GenerationConfig

from app.engine.whisper_tokens import WhisperText, WhisperTokens, whisper_tokens
from tests.fixtures.whisper_words import TOKENS

CONTROL = ("<|endoftext|>", "<|startoftranscript|>", "<|de|>", "<|0.00|>", "<|notimestamps|>")


@pytest.fixture(scope="module")
def tokenizer(whisper_base: Path) -> Any:
    return AutoTokenizer.from_pretrained(whisper_base)


@pytest.fixture(scope="module")
def text(tokenizer: Any) -> WhisperText:
    return WhisperText(tokenizer)


@pytest.fixture(scope="module")
def tokens(tokenizer: Any, whisper_base: Path) -> WhisperTokens:
    generation = GenerationConfig.from_pretrained(whisper_base).to_dict()
    return whisper_tokens(tokenizer, generation, 51_865)


def test_ids_are_those_of_the_multilingual_vocabulary(tokens: WhisperTokens):
    assert (tokens.start, tokens.context, tokens.no_speech) == (50_258, 50_361, 50_362)
    assert (tokens.first_stamp, tokens.last_first_stamp) == (50_364, 50_414)
    assert tokens.opening("de", "translate") == (50_261, 50_358)


def test_languages_are_told_by_code_and_english_name(tokens: WhisperTokens):
    assert len(tokens.names) == 99
    assert tokens.names["de"] == "german"


def test_an_english_only_model_is_told_neither_language_nor_task(tokenizer: Any):
    english = whisper_tokens(tokenizer, {}, 51_864)
    assert english.names == {"en": "english"}
    assert english.opening("en", "transcribe") == ()


def test_a_tokenizer_of_another_model_is_refused(smollm2: Path):
    with pytest.raises(ValueError, match="notimestamps"):
        whisper_tokens(AutoTokenizer.from_pretrained(smollm2), {}, 51_865)


@pytest.mark.parametrize("control", CONTROL)
def test_control_tokens_in_text_stay_text(text: WhisperText, control: str):
    ids = text.encode_context(f"Dear {control} friend")
    assert max(ids) < TOKENS.end
    assert text.decode(ids) == f" Dear {control} friend"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])))
def test_any_text_comes_back(text: WhisperText, words: str):
    assert text.decode(text.encode(words)) == words


def test_context_of_nothing_but_space_is_none(text: WhisperText):
    assert text.encode_context(" \n ") == []
