"""The bytes of a streamed response: OpenAI's events, numbered from 0.

What is the same in all pieces of an item is written once; for a piece only its text and its number
are. The stream ends with the event that holds the whole response, without `[DONE]`, as OpenAI's.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel

from app.api.responses.assembly import Began, Ended, Step, Wrote
from app.api.responses.output import OutputItem
from app.api.responses.response import Response
from app.errors import ApiError
from app.sse import json_bytes, json_text, without_line_breaks


class _Kind(NamedTuple):
    """How the pieces of an item are called, what they have besides, and an item's empty part."""

    events: bytes
    besides: bytes
    whole: bytes
    part: bytes | None


_KINDS: Mapping[str, _Kind] = {
    "message": _Kind(b"output_text", b',"content_index":0,"logprobs":[]', b"text", b"output_text"),
    "reasoning": _Kind(b"reasoning_text", b',"content_index":0', b"text", b"reasoning_text"),
    "function_call": _Kind(b"function_call_arguments", b"", b"arguments", None),
}


class EventEncoder:
    """Writes the events of one response."""

    def __init__(self) -> None:
        self._number = 0
        self._piece_head = b""

    def begun(self, response: Response) -> bytes:
        """Open the stream."""
        field = b'"response":' + _json(response)
        opened = self._event(b"response.created", field)
        return opened + self._event(b"response.in_progress", field)

    def steps(self, steps: Sequence[Step]) -> bytes:
        """Write what changes in the output."""
        return b"".join([self._step(step) for step in steps])

    def ended(self, response: Response) -> bytes:
        """Close the stream; the response's status says how."""
        name = b"response." + response.status.encode()
        return self._event(name, b'"response":' + _json(response))

    def error(self, error: ApiError) -> bytes:
        """Say what went wrong after the first token, flat as OpenAI's SDK reads it."""
        told = {"code": error.code, "message": error.message, "param": error.param, **error.extra}
        return self._event(b"error", json_bytes(told)[1:-1])

    def _step(self, step: Step) -> bytes:
        if isinstance(step, Wrote):
            return self._piece_head + json_text(step.text) + self._tail()
        if isinstance(step, Began):
            return self._began(step)
        return self._ended(step)

    def _began(self, step: Began) -> bytes:
        kind, place = _KINDS[step.item.type], _place(step.item, step.index)
        name = b"response." + kind.events + b".delta"
        self._piece_head = _head(name) + place + kind.besides + b',"delta":'
        added = self._item_event(b"response.output_item.added", step.index, step.item)
        return added + self._part_event(b"response.content_part.added", kind, place, b'""')

    def _ended(self, step: Ended) -> bytes:
        kind, place = _KINDS[step.item.type], _place(step.item, step.index)
        text = json_text(step.text)
        field = place + kind.besides + b',"' + kind.whole + b'":' + text
        return (
            self._event(b"response." + kind.events + b".done", field)
            + self._part_event(b"response.content_part.done", kind, place, text)
            + self._item_event(b"response.output_item.done", step.index, step.item)
        )

    def _item_event(self, name: bytes, index: int, item: OutputItem) -> bytes:
        return self._event(name, b'"output_index":%d,"item":' % index + _json(item))

    def _part_event(self, name: bytes, kind: _Kind, place: bytes, text: bytes) -> bytes:
        if kind.part is None:
            return b""
        besides = b',"annotations":[],"logprobs":[]' if kind.part == b"output_text" else b""
        part = b'{"type":"' + kind.part + b'","text":' + text + besides + b"}"
        return self._event(name, place + b',"content_index":0,"part":' + part)

    def _event(self, name: bytes, fields: bytes) -> bytes:
        return _head(name) + fields + self._tail()

    def _tail(self) -> bytes:
        tail = b',"sequence_number":%d}\n\n' % self._number
        self._number += 1
        return tail


def _head(name: bytes) -> bytes:
    return b"event: " + name + b'\ndata: {"type":"' + name + b'",'


def _place(item: OutputItem, index: int) -> bytes:
    return b'"item_id":' + json_bytes(item.id) + b',"output_index":%d' % index


def _json(value: BaseModel) -> bytes:
    return without_line_breaks(value.model_dump_json().encode())
