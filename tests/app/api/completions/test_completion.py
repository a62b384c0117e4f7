"""The shapes of an answer's parts."""

import pytest

from app.api.completions.completion import Logprobs, total
from app.engine.base import Candidate, TokenLogprob, Usage
from tests.app.api.completions.stubs import token


def test_tokens_are_told_in_the_legacy_shape() -> None:
    told = Logprobs.of([token("The", -0.25, ("A", -2.0)), token(" end", -1.5, (" dog", -0.5))])
    assert told.model_dump() == {
        "text_offset": [0, 3],
        "token_logprobs": [-0.25, -1.5],
        "tokens": ["The", " end"],
        "top_logprobs": [{"The": -0.25, "A": -2.0}, {" dog": -0.5, " end": -1.5}],
    }


def test_the_likeliest_come_first() -> None:
    (top,) = Logprobs.of([token("b", -1.0, ("a", -0.5), ("c", -3.0))]).top_logprobs
    assert list(top) == ["a", "b", "c"]


def test_the_chosen_token_is_told_where_none_is_asked_for_beside_it() -> None:
    told = Logprobs.of([TokenLogprob(Candidate("x", -4.0), [])])
    assert told.top_logprobs == [{"x": -4.0}]


@pytest.mark.parametrize(("chosen", "logprob"), [("", -3.0), ("x", -1.0)])
def test_of_tokens_with_one_text_the_chosen_is_told_else_the_likeliest(
    chosen: str, logprob: float
) -> None:
    top = [Candidate("", -1.0), Candidate("", -3.0)]
    told = Logprobs.of([TokenLogprob(Candidate(chosen, -3.0), top)])
    assert told.top_logprobs[0][""] == logprob


def test_usages_add_up_field_by_field() -> None:
    one, two = Usage(1, 2, 0, 0.5, 0.25, 1.0), Usage(10, 20, 5, 0.5, 0.25, 1.0, 3)
    assert total([one, two]) == Usage(11, 22, 5, 1.0, 0.5, 2.0, 3)
