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
    message = ("role", "user", "content")
    part = ("type", "text", "text", "12345")
    tool = ("type", "function", "function", "name", "abc")
    assert characters(job) == sum(map(len, (*message, "1234", *message, *part, *tool)))
    assert estimated_tokens(job) == characters(job) // 4


def test_a_property_of_a_tool_is_text_whatever_its_name() -> None:
    properties = {"image_url": {"description": "x" * 1000}, "y" * 1000: {}}
    function = {"name": "f", "parameters": {"properties": properties}}
    tools = ToolUse([{"type": "function", "function": function}])
    assert characters(ChatJob([], Sampling(), "salt", tool_use=tools)) > 2000


def test_token_ids_are_no_text_and_count_as_they_are() -> None:
    job = TextJob([5, 6, 7], Sampling(), "salt")
    assert (characters(job), estimated_tokens(job)) == (0, 3)


def test_a_text_is_as_long_as_it_is() -> None:
    assert characters(TextJob("12345678", Sampling(), "salt")) == 8
