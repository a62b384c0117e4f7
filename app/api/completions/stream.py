"""The bytes of a streamed legacy completion; chunks of several choices may come in any order.

What is the same in all chunks of a request is written once; for a piece of text only that text is
encoded.
"""

from dataclasses import dataclass

from app.api.completions.completion import FinishReason, Logprobs, reason, total
from app.engine.base import Delta, Usage
from app.groq_fields import CompletionUsage
from app.inference.tiers import Tier
from app.sse import DONE, json_bytes, json_text, without_line_breaks


@dataclass(frozen=True, slots=True)
class About:
    """What the chunks of one request tell beside its choices."""

    id: str
    created: int
    model: str
    fingerprint: str
    request_id: str
    tier: Tier
    include_usage: bool


class ChunkEncoder:
    """Writes the chunks of one request, which has so many `choices`."""

    def __init__(self, about: About, *, choices: int) -> None:
        shared = {
            "id": about.id,
            "object": "text_completion",
            "created": about.created,
            "model": about.model,
            "system_fingerprint": about.fingerprint,
        }
        self._about = about
        self._head = b"data: " + json_bytes(shared)[:-1] + b',"choices":['
        self._text_head = self._head + b'{"text":'
        self._places = [b',"index":%d,"logprobs":' % index for index in range(choices)]
        self._tails = [place + b'null,"finish_reason":null}]}\n\n' for place in self._places]
        self._offsets = [0] * choices
        self._usages: list[Usage] = []

    def opening(self, seed: int) -> bytes:
        """Write the first chunk: the seed that was drawn."""
        x_groq = json_bytes({"id": self._about.request_id, "seed": seed})
        return self._without_text(0, None) + b'],"x_groq":' + x_groq + b"}\n\n"

    def chunks(self, index: int, delta: Delta) -> bytes:
        """Write what a delta adds to a choice; with the last one of all, the stream's end."""
        piece = self._piece(index, delta)
        if delta.usage is None:
            return piece
        self._usages.append(delta.usage)
        end = self._without_text(index, reason(delta))
        if len(self._usages) < len(self._places):
            return piece + end + b"]}\n\n"
        return piece + end + self._last()

    def _piece(self, index: int, delta: Delta) -> bytes:
        if delta.logprobs:
            return self._with_logprobs(index, delta)
        if delta.text:
            return self._text_head + json_text(delta.text) + self._tails[index]
        return b""

    def _with_logprobs(self, index: int, delta: Delta) -> bytes:
        told = Logprobs.of(delta.logprobs, self._offsets[index])
        self._offsets[index] += sum(map(len, told.tokens))
        written = without_line_breaks(told.model_dump_json().encode())
        head = self._text_head + json_text(delta.text) + self._places[index]
        return head + written + b',"finish_reason":null}]}\n\n'

    def _without_text(self, index: int, reason: FinishReason | None) -> bytes:
        written = b'null,"finish_reason":' + json_bytes(reason) + b"}"
        return self._text_head + b'""' + self._places[index] + written

    def _last(self) -> bytes:
        took = CompletionUsage.of(total(self._usages)).model_dump_json(exclude_unset=True).encode()
        x_groq = b'{"id":' + json_bytes(self._about.request_id) + b',"usage":' + took + b"}"
        last = b'],"x_groq":' + x_groq + b',"usage":' + took + b"}\n\n"
        if not self._about.include_usage:
            return last + DONE
        tier = json_bytes(self._about.tier)
        return (
            last + self._head + b'],"usage":' + took + b',"service_tier":' + tier + b"}\n\n" + DONE
        )
