"""The bytes of a streamed answer: server-sent events in the shape and order of Groq's captures.

What is the same in all chunks of a request is written once; for a piece of text only that text is
encoded. A tool call comes whole, in one chunk.
"""

from typing import Any

from app.api.chat.completion import Logprobs, MessageToolCall, WireFinishReason
from app.engine.base import Delta, Usage
from app.groq_fields import CompletionUsage
from app.inference.tiers import Tier
from app.sse import DONE, json_bytes, json_text, without_line_breaks


class ChunkEncoder:
    """Writes the chunks of one answer."""

    def __init__(
        self,
        *,
        id: str,
        created: int,
        model: str,
        fingerprint: str,
        request_id: str,
        by_function: bool,
    ) -> None:
        shared = {
            "id": id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "system_fingerprint": fingerprint,
        }
        self._head = b"data: " + json_bytes(shared)[:-1] + b',"choices":['
        self._text_head = self._head + b'{"index":0,"delta":{"content":'
        self._reasoning_head = self._head + b'{"index":0,"delta":{"reasoning":'
        self._tail = b'},"logprobs":null,"finish_reason":null}]}\n\n'
        self._request_id = request_id
        self._by_function = by_function
        self._calls = 0

    def first(self, delta: Delta, seed: int) -> bytes:
        """Open the stream: the role, and the seed that was drawn."""
        is_call = bool(delta.tool_calls) and not delta.text
        choice = _choice({"role": "assistant", "content": None if is_call else ""}, None)
        x_groq = json_bytes({"id": self._request_id, "seed": seed})
        return self._head + choice + b'],"x_groq":' + x_groq + b"}\n\n"

    def piece(self, delta: Delta) -> bytes:
        """Write what a delta adds to the answer: nothing, or a chunk for each kind of it."""
        chunks = []
        if delta.reasoning:
            chunks.append(self._reasoning_head + json_text(delta.reasoning) + self._tail)
        if delta.logprobs:
            chunks.append(self._with_logprobs(delta))
        elif delta.text:
            chunks.append(self._text_head + json_text(delta.text) + self._tail)
        if delta.tool_calls:
            chunks.append(self._tool_calls(delta))
        return b"".join(chunks)

    def last(
        self, reason: WireFinishReason, usage: Usage, tier: Tier, *, include_usage: bool
    ) -> bytes:
        """Close the stream: why it ended, what it took, and `[DONE]`.

        Clients add up the `usage` of all chunks, so it stands beside `x_groq` only where no chunk
        of its own follows.
        """
        took = CompletionUsage.of(usage).model_dump_json(exclude_unset=True).encode()
        x_groq = b'{"id":' + json_bytes(self._request_id) + b',"usage":' + took + b"}"
        end = self._head + _choice({}, reason) + b'],"x_groq":' + x_groq
        if not include_usage:
            return end + b',"usage":' + took + b"}\n\n" + DONE
        tail = b',"service_tier":' + json_bytes(tier) + b"}\n\n"
        return end + b"}\n\n" + self._head + b'],"usage":' + took + tail + DONE

    def _with_logprobs(self, delta: Delta) -> bytes:
        told = without_line_breaks(Logprobs.of(delta.logprobs).model_dump_json().encode())
        head = self._text_head + json_text(delta.text) + b'},"logprobs":'
        return head + told + b',"finish_reason":null}]}\n\n'

    def _tool_calls(self, delta: Delta) -> bytes:
        calls = [MessageToolCall.of(call).model_dump() for call in delta.tool_calls]
        numbered = [{**call, "index": self._calls + n} for n, call in enumerate(calls)]
        self._calls += len(calls)
        piece = {"function_call": calls[0]["function"]} if self._by_function else None
        choice = _choice(piece or {"tool_calls": numbered}, None)
        return self._head + choice + b"]}\n\n"


def _choice(delta: dict[str, Any], reason: WireFinishReason | None) -> bytes:
    return json_bytes({"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason})
