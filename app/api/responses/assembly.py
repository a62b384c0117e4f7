"""Puts a response's items together from the deltas of an answer, step by step.

Streams tell the steps, plain answers only their result, so that both have the same items. Items
stand in the order in which the model wrote them; one is open at a time.
"""

from dataclasses import dataclass

from app.api.responses.output import (
    FunctionCallItem,
    OutputItem,
    OutputMessage,
    ReasoningItem,
    Status,
)
from app.engine.base import Delta, ToolCall


@dataclass(frozen=True, slots=True)
class Began:
    """An item was opened, still empty."""

    index: int
    item: OutputItem


@dataclass(frozen=True, slots=True)
class Wrote:
    """A piece of the open item."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The open item is whole."""

    index: int
    item: OutputItem
    text: str


Step = Began | Wrote | Ended


class Assembly:
    """The items of one answer. `items` are those that have ended."""

    def __init__(self) -> None:
        self.items: list[OutputItem] = []
        self._open: OutputItem | None = None
        self._texts: list[str] = []
        self._blank = ""

    def add(self, delta: Delta) -> list[Step]:
        """Take a delta in and return what it changes."""
        steps: list[Step] = []
        if delta.reasoning:
            self._think(delta.reasoning, steps)
        if delta.text:
            self._say(delta.text, steps)
        for call in delta.tool_calls:
            self._call(call, steps)
        return steps

    def end(self, *, is_cut: bool) -> list[Step]:
        """Close what is open; an answer of nothing gets an empty message."""
        steps: list[Step] = []
        says_something = any(item.type != "reasoning" for item in [*self.items, self._open] if item)
        if not says_something and (self._blank or not (self.items or self._open)):
            self._write_message("", steps)
        self._close(steps, "incomplete" if is_cut else "completed")
        return steps

    def broken_off(self) -> list[OutputItem]:
        """Return what there is of the items when no more will come."""
        self._close([], "incomplete")
        return self.items

    def _think(self, text: str, steps: list[Step]) -> None:
        if not isinstance(self._open, ReasoningItem):
            self._begin(ReasoningItem.begun(), steps)
        self._write(text, steps)

    def _say(self, text: str, steps: list[Step]) -> None:
        # Models put line breaks between thoughts and calls; they are no message.
        if not isinstance(self._open, OutputMessage) and text.isspace():
            self._blank += text
        else:
            self._write_message(text, steps)

    def _write_message(self, text: str, steps: list[Step]) -> None:
        if not isinstance(self._open, OutputMessage):
            self._begin(OutputMessage.begun(), steps)
            text, self._blank = self._blank + text, ""
        if text:
            self._write(text, steps)

    def _call(self, call: ToolCall, steps: list[Step]) -> None:
        self._blank = ""
        self._begin(FunctionCallItem.begun(call), steps)
        self._write(call.arguments, steps)

    def _begin(self, item: OutputItem, steps: list[Step]) -> None:
        self._close(steps, "completed")
        self._open = item
        steps.append(Began(len(self.items), item))

    def _write(self, text: str, steps: list[Step]) -> None:
        self._texts.append(text)
        steps.append(Wrote(text))

    def _close(self, steps: list[Step], status: Status) -> None:
        if self._open is None:
            return
        text = "".join(self._texts)
        item = self._open.ended(text, status)
        steps.append(Ended(len(self.items), item, text))
        self.items.append(item)
        self._open = None
        self._texts.clear()
