"""Chat streams as a client reads them: frames, and the choice that they add up to."""

import json
from typing import Any


def chunks_of(stream: str) -> list[dict[str, Any]]:
    """Return the chunks of a stream that ended well."""
    frames = stream.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""], stream[-2000:]
    return [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]


def accumulated(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the chunks' deltas make together; calls come whole."""
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    deltas = [choice["delta"] for choice in choices]
    return {
        "content": "".join(delta.get("content") or "" for delta in deltas),
        "reasoning": "".join(delta.get("reasoning") or "" for delta in deltas),
        "tool_calls": [call for delta in deltas for call in delta.get("tool_calls", ())],
        "logprobs": [t for c in choices if c["logprobs"] for t in c["logprobs"]["content"]],
        "finish_reason": choices[-1]["finish_reason"],
    }


def error_of(stream: str) -> dict[str, Any]:
    """Return the error that a stream ended with."""
    *_, event, end = stream.split("\n\n")
    assert end == ""
    name, data = event.split("\n")
    assert name == "event: error"
    error: dict[str, Any] = json.loads(data.removeprefix("data: "))["error"]
    return error
