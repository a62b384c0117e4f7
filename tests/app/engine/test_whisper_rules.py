"""What Whisper may write next, by the rules of stamps, under both of vLLM's model runners."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate

from app.engine.whisper_rules import NONE, Rules, WhisperRules
from tests.fixtures.whisper_words import FIRST_STAMP, TOKENS, stamp

VOCABULARY = FIRST_STAMP + 1501
OPENING = (50_259, 50_359)
WORD, OTHER = 100, 200


def parameters(opening: Sequence[int] = OPENING) -> SamplingParams:
    rules = Rules(
        opening, TOKENS.end, TOKENS.first_stamp, TOKENS.last_first_stamp, TOKENS.suppressed
    )
    return SamplingParams(extra_args=rules.as_arguments())


def on_host(answers: Sequence[tuple[SamplingParams, list[int]]], logits: torch.Tensor) -> None:
    processor = WhisperRules(None, torch.device("cpu"), False)
    added = [(row, told, [TOKENS.start], said) for row, (told, said) in enumerate(answers)]
    processor.update_state(BatchUpdate(len(answers), removed=[], added=added, moved=[]))
    processor.apply(logits)


def on_device(answers: Sequence[tuple[SamplingParams, list[int]]], logits: torch.Tensor) -> None:
    """Keep the first answer in the last slot, as slots are taken in any order."""
    prompt = [50_361, WORD, TOKENS.start]
    slots = list(range(len(answers)))[::-1]
    kept = torch.full((len(answers), 448), 7, dtype=torch.int32)
    for slot, (_, said) in zip(slots, answers, strict=True):
        tokens = [*prompt, *said]
        kept[slot, : len(tokens)] = torch.tensor(tokens)
    states = SimpleNamespace(
        all_token_ids=SimpleNamespace(gpu=kept),
        prompt_len=SimpleNamespace(gpu=torch.full((len(answers),), len(prompt))),
    )
    processor = WhisperRules(None, states)
    for slot, (told, _) in zip(slots, answers, strict=True):
        processor.add_request(slot, told)
    places = [len(prompt) + len(said) - 1 for _, said in answers]
    context = SimpleNamespace(
        idx_mapping_np=np.array(slots),
        expanded_idx_mapping=torch.tensor(slots),
        pos=torch.tensor(places),
    )
    processor.apply(logits, context)


@pytest.fixture(params=[on_host, on_device])
def runner(request: pytest.FixtureRequest) -> Any:
    return request.param


def allowed(runner: Any, said: Sequence[int], *likely: int) -> set[int]:
    """Return what may follow an answer's tokens, where words are likelier than stamps."""
    logits = torch.zeros(1, VOCABULARY)
    logits[0, :FIRST_STAMP] = 20.0
    logits[0, list(likely)] = 40.0
    runner([(parameters(), [*OPENING, *said])], logits)
    return set(torch.isfinite(logits[0]).nonzero().flatten().tolist())


def stamps_from(seconds: float) -> set[int]:
    return set(range(stamp(seconds), VOCABULARY))


WORDS = set(range(TOKENS.end)) - {1, 2}


def test_an_answer_begins_with_its_opening(runner: Any):
    logits = torch.zeros(2, VOCABULARY)
    runner([(parameters(), []), (parameters((50_261, 50_358)), [50_261])], logits)
    assert logits.argmax(dim=1).tolist() == [50_259, 50_358]
    assert torch.isfinite(logits).sum(dim=1).tolist() == [1, 1]


def test_the_first_token_is_an_early_stamp(runner: Any):
    assert allowed(runner, []) == set(range(stamp(0), stamp(1) + 1))


def test_after_the_first_stamp_comes_a_word_or_the_end(runner: Any):
    assert allowed(runner, [stamp(0)]) == WORDS | {TOKENS.end}


def test_after_a_word_comes_anything_but_an_earlier_stamp(runner: Any):
    assert allowed(runner, [stamp(0.5), WORD]) == WORDS | {TOKENS.end} | stamps_from(0.52)


def test_after_a_closing_stamp_comes_its_pair_or_the_end(runner: Any):
    assert allowed(runner, [stamp(0), WORD, stamp(2)]) == {TOKENS.end} | stamps_from(2)


def test_after_a_pair_of_stamps_comes_a_word(runner: Any):
    said = [stamp(0), WORD, stamp(2), stamp(2)]
    assert allowed(runner, said) == WORDS | {TOKENS.end}


def test_a_stamp_is_taken_where_stamps_together_are_likelier(runner: Any):
    logits = torch.zeros(1, VOCABULARY)
    logits[0, WORD] = 2.0
    runner([(parameters(), [*OPENING, stamp(0), OTHER])], logits)
    # A thousand stamps of probability 1 each outweigh a word of e squared.
    assert not torch.isfinite(logits[0, :FIRST_STAMP]).any()


def test_suppressed_and_control_tokens_never_come(runner: Any):
    assert not allowed(runner, [stamp(0), WORD], 1, 2, 50_258, 50_362) & {1, 2, 50_258, 50_362}


def test_requests_without_rules_are_left_alone(runner: Any):
    logits = torch.randn(2, VOCABULARY)
    before = logits.clone()
    runner([(SamplingParams(), [5]), (parameters(), [])], logits)
    assert torch.equal(logits[0], before[0])
    assert not torch.equal(logits[1], before[1])


def test_a_model_without_opening_begins_with_a_stamp(runner: Any):
    logits = torch.zeros(1, VOCABULARY)
    runner([(parameters(()), [])], logits)
    assert FIRST_STAMP <= int(logits[0].argmax()) <= stamp(1)


def test_a_slot_that_is_given_on_forgets_its_rules():
    processor = WhisperRules(None, SimpleNamespace())
    assert processor.add_request(3, parameters()) is True
    assert processor.add_request(3, SamplingParams()) is False
    logits = torch.zeros(1, VOCABULARY)
    processor.apply(logits, SimpleNamespace(idx_mapping_np=np.array([3])))
    assert not logits.any()


def test_rules_reach_the_sampled_token_and_are_no_invariant():
    assert WhisperRules(None, torch.device("cpu")).is_argmax_invariant() is False
    assert NONE < 0
