"""The time to the first token counts text, not the chunk that only names the role."""

import json
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from groq import Groq

from deploy.quickstart.conversation import Answer, NoAnswer, ask


def answer_to(deltas: Iterable[dict[str, str]]) -> Answer:
    """Ask a server that streams these deltas."""
    frames = [f"data: {json.dumps(chunk(delta))}\n\n" for delta in deltas]
    headers = {"content-type": "text/event-stream"}

    def reply(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=headers, text="".join([*frames, "data: [DONE]\n\n"]))

    transport = httpx.MockTransport(reply)
    with Groq(api_key="none", http_client=httpx.Client(transport=transport)) as client:
        return ask(client, "some-model", "Well?")


def chunk(delta: dict[str, str]) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}
    known = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**known, "choices": [choice]}


def test_pieces_add_up_to_the_text() -> None:
    assert answer_to([{"content": "Good "}, {"content": "day."}]).text == "Good day."


def test_a_role_chunk_does_not_stop_the_clock() -> None:
    answer = answer_to([{"role": "assistant", "content": ""}, {"content": "Good day."}])

    assert answer.first_token_seconds > 0


def test_an_answer_without_text_is_an_error() -> None:
    with pytest.raises(NoAnswer, match="some-model"):
        answer_to([{"role": "assistant", "content": ""}])
