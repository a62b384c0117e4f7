"""The bytes of a streamed answer: server-sent events in the shape and order of Groq's captures.

What is the same in all chunks of a request is written once; for a piece of text only that text is
encoded.
"""

import json

import msgspec

from app.api.chat.schemas import SERVICE_TIER, CompletionUsage
from app.engine.base import FinishReason, Usage
from app.errors import ApiError

DONE = b"data: [DONE]\n\n"

_LINE_BREAKS = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)


class ChunkEncoder:
    """Writes the chunks of one answer."""

    def __init__(
        self, *, id: str, created: int, model: str, fingerprint: str, request_id: str
    ) -> None:
        shared = {
            "id": id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "system_fingerprint": fingerprint,
        }
        self._head = b"data: " + _json(shared)[:-1] + b',"choices":['
        self._text_head = self._head + b'{"index":0,"delta":{"content":'
        self._text_tail = b'},"logprobs":null,"finish_reason":null}]}\n\n'
        self._request_id = request_id

    def first(self, seed: int) -> bytes:
        """Open the stream: the role, and the seed that was drawn."""
        choice = _choice({"role": "assistant", "content": ""}, None)
        x_groq = _json({"id": self._request_id, "seed": seed})
        return self._head + choice + b'],"x_groq":' + x_groq + b"}\n\n"

    def text(self, text: str) -> bytes:
        """Write a piece of the answer; nothing for an empty one."""
        if not text:
            return b""
        encoded = msgspec.json.encode(text)
        if not text.isascii():
            encoded = _without_line_breaks(encoded)
        return self._text_head + encoded + self._text_tail

    def last(self, reason: FinishReason, usage: Usage, *, include_usage: bool) -> bytes:
        """Close the stream: why it ended, what it took, and `[DONE]`."""
        took = CompletionUsage.of(usage).model_dump_json(exclude_unset=True).encode()
        x_groq = b'{"id":' + _json(self._request_id) + b',"usage":' + took + b"}"
        end = _choice({}, reason) + b'],"x_groq":' + x_groq + b',"usage":' + took + b"}\n\n"
        if not include_usage:
            return self._head + end + DONE
        tier = b',"service_tier":' + _json(SERVICE_TIER) + b"}\n\n"
        return self._head + end + self._head + b'],"usage":' + took + tier + DONE


def error_event(error: ApiError) -> bytes:
    """Write an error that came after the first token. The stream ends here, without `[DONE]`."""
    return b"event: error\ndata: " + error.body() + b"\n\n"


def _choice(delta: dict[str, str], reason: FinishReason | None) -> bytes:
    return _json({"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _without_line_breaks(encoded: bytes) -> bytes:
    """Escape what JSON may hold raw but some clients' line splitting takes for an end of line."""
    for raw, escaped in _LINE_BREAKS:
        encoded = encoded.replace(raw, escaped)
    return encoded
