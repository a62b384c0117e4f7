"""How much text a job holds, counted without a tokenizer."""

from app.engine.base import ChatJob, Sampling, TextJob, ToolUse
from app.engine.job_text import characters, estimated_tokens


def test_all_text_that_will_be_rendered_counts_and_images_do_not() -> None:
    parts = [
        {"type": "text", "text": "12345"},
        {"type": "image_url", "image_url": {"url": "x" * 99}},
    ]
    messages = [{"role": "user", "content": "1234"}, {"role": "user", "content": parts}]
    tools = ToolUse([{"type": "function", "function": {"name": "abc"}}])
    job = ChatJob(messages, Sampling(), "salt", tool_use=tools)
    words = ("user", "1234", "user", "text", "12345", "image_url", "function", "abc")
    assert characters(job) == sum(map(len, words))
    assert estimated_tokens(job) == characters(job) // 4


def test_token_ids_are_no_text_and_count_as_they_are() -> None:
    job = TextJob([5, 6, 7], Sampling(), "salt")
    assert (characters(job), estimated_tokens(job)) == (0, 3)


def test_a_text_is_as_long_as_it_is() -> None:
    assert characters(TextJob("12345678", Sampling(), "salt")) == 8
