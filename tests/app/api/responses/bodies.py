"""Request bodies of responses, and a reading of their streams that knows none of our code."""

import copy
import json
from typing import Any

import openai._streaming

from app.api.responses.schemas import ResponseRequest
from app.json_document import parse

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def body(**fields: Any) -> dict[str, Any]:
    """Make a valid body, with some fields set or replaced."""
    return {"model": "tiny-base", "input": "hi", **fields}


def request(**fields: Any) -> ResponseRequest:
    """Check a body as the service does."""
    return parse(ResponseRequest, encode(body(**fields)))


def encode(document: object) -> bytes:
    """Write a body as JSON; NaN and infinities come out as Python writes them."""
    return json.dumps(document).encode()


def events(stream: bytes) -> list[dict[str, Any]]:
    """Read the stream with the decoder of OpenAI's SDK; each event's name is its type."""
    decoded = list(openai._streaming.SSEDecoder().iter_bytes(iter([stream])))
    read = [json.loads(event.data) for event in decoded]
    assert [event.event for event in decoded] == [event["type"] for event in read]
    return read


class Accumulated:
    """The output as a client builds it from the pieces, item by item."""

    def __init__(self, told: list[dict[str, Any]]) -> None:
        self.items: list[dict[str, Any]] = []
        self.open: set[str] = set()
        self.done: list[dict[str, Any]] = []
        for event in told:
            take = getattr(self, "_" + event["type"].rpartition(".")[0].rpartition(".")[2], None)
            if take is not None:
                take(event, event["type"].rpartition(".")[2])

    def _output_item(self, event: dict[str, Any], what: str) -> None:
        if what == "added":
            assert event["output_index"] == len(self.items)
            assert not self.open
            self.items.append(copy.deepcopy(event["item"]))
            self.open.add(event["item"]["id"])
        else:
            self.open.remove(event["item"]["id"])
            self.done.append(event["item"])

    def _content_part(self, event: dict[str, Any], what: str) -> None:
        item = self._item(event)
        if what == "added":
            item["content"].append(event["part"])
        else:
            assert item["content"][event["content_index"]] == event["part"]

    def _output_text(self, event: dict[str, Any], what: str) -> None:
        part = self._item(event)["content"][event["content_index"]]
        if what == "delta":
            part["text"] += event["delta"]
        else:
            assert part["text"] == event["text"]

    _reasoning_text = _output_text

    def _function_call_arguments(self, event: dict[str, Any], what: str) -> None:
        item = self._item(event)
        if what == "delta":
            item["arguments"] += event["delta"]
        else:
            assert item["arguments"] == event["arguments"]

    def _item(self, event: dict[str, Any]) -> dict[str, Any]:
        item: dict[str, Any] = self.items[event["output_index"]]
        assert item["id"] == event["item_id"]
        assert item["id"] in self.open
        return item
