"""Prompts by the tokenizer's own names; no text of a caller becomes a control token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from app.engine.orpheus_prompt import PromptWriter
from tests.fixtures.tiny_orpheus import CODEBOOK, CUSTOM, custom, orpheus_tokenizer

TOKENIZER = orpheus_tokenizer()
WRITER = PromptWriter(TOKENIZER)
LITERALS = ["<|eot_id|>", "<|begin_of_text|>", custom(1), custom(2), custom(10), custom(233)]
TEXTS = st.lists(st.one_of(st.sampled_from(LITERALS), st.text(max_size=8)), max_size=12)


def _ids(*tokens: str) -> list[int]:
    ids = TOKENIZER.convert_tokens_to_ids(list(tokens))
    assert isinstance(ids, list)
    return ids


def _text_of(prompt: list[int]) -> str:
    begin, end = len(WRITER.tokens.before), len(WRITER.tokens.after)
    return str(TOKENIZER.decode(prompt[begin:-end], clean_up_tokenization_spaces=False))


def test_a_prompt_has_the_published_form():
    before = _ids(custom(3), "<|begin_of_text|>")
    after = _ids("<|eot_id|>", custom(4), custom(5), custom(1))
    assert WRITER.write("tara", "hi") == [*before, *_ids(*"tara:Ġhi"), *after]


def test_the_end_of_speech_ends_an_answer():
    assert WRITER.tokens.ends == _ids(custom(2), custom(6))


@given(TEXTS)
def test_control_tokens_in_a_text_are_text(pieces: list[str]):
    text = "".join(pieces).encode(errors="replace").decode()
    prompt = WRITER.write("tara", text)
    begin, end = len(WRITER.tokens.before), len(WRITER.tokens.after)
    assert all(id < 256 for id in prompt[begin:-end])
    assert _text_of(prompt) == f"tara: {text}"


def test_literals_made_of_one_another_are_text():
    text = "<custom_token_<custom_token_1>1>" * 40
    assert _text_of(WRITER.write("tara", text)) == f"tara: {text}"


def test_the_tokenizer_itself_is_left_as_it_is():
    tokenizer = orpheus_tokenizer()
    tokenizer(["a", "bb"], padding=True, truncation=True, max_length=1)
    before = tokenizer.backend_tokenizer.truncation
    writer = PromptWriter(tokenizer)
    assert len(writer.write("tara", "a long text")) > 8
    assert tokenizer.backend_tokenizer.truncation == before


def test_audio_tokens_are_found_by_name():
    audio = WRITER.audio(CODEBOOK)
    assert audio.tokens([0] * 7)[0] == _ids(custom(10))[0]
    assert audio.tokens([CODEBOOK - 1] * 7)[6] == _ids(custom(CUSTOM - 1))[0]


def test_a_codebook_too_large_for_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="no token <custom_token_"):
        WRITER.audio(4096)


def test_audio_tokens_with_gaps_are_refused():
    tokenizer = orpheus_tokenizer()
    tokenizer.add_tokens(["something else", *(custom(n) for n in range(CUSTOM, CUSTOM + 70))])
    with pytest.raises(ValueError, match="in one row"):
        PromptWriter(tokenizer).audio(CODEBOOK + 10)


def test_a_tokenizer_of_another_kind_is_refused():
    plain = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain)
    with pytest.raises(ValueError, match="no token <custom_token_"):
        PromptWriter(tokenizer)
