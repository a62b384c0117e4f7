import pytest

from benchmarks.interactive import CONTENT, Waits


def test_an_answer_is_its_first_token_and_the_gaps_after_it() -> None:
    waits = Waits()

    waits.arrived([1.5, 1.75, 2.25], asked=1.0)

    assert (waits.first, waits.between, waits.answers) == ([0.5], [0.25, 0.5], 1)


@pytest.mark.parametrize(
    ("event", "holds_text"),
    [
        (b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}', False),
        (b'data: {"choices":[{"delta":{"content":"Hi"}}]}', True),
        (b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}', False),
        (b"data: [DONE]", False),
    ],
)
def test_only_events_with_text_count_as_tokens(event: bytes, holds_text: bool) -> None:
    assert bool(CONTENT.search(event)) == holds_text
