"""From items, of which one answer may have many, to the turns of a conversation.

A model's thoughts, text and calls are items of their own here; chat templates want them as one
message.
"""

from collections.abc import Iterable
from typing import Any


def joined(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join what the assistant thought, said and called without anybody in between.

    Two texts stay two messages, and thoughts begin a new one. Each message is OpenAI-shaped.
    """
    turns: list[dict[str, Any]] = []
    for message in messages:
        if turns and _belong_together(turns[-1], message):
            turns[-1] = _together(turns[-1], message)
        else:
            turns.append(message)
    return [_complete(turn) for turn in turns]


def _belong_together(turn: dict[str, Any], message: dict[str, Any]) -> bool:
    if turn["role"] != "assistant" or message["role"] != "assistant":
        return False
    if "reasoning" in message:
        return turn.keys() == {"role", "reasoning"}
    return not ("content" in turn and "content" in message)


def _together(turn: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    both = {**turn, **message}
    if "reasoning" in turn and "reasoning" in message:
        both["reasoning"] = f"{turn['reasoning']}\n{message['reasoning']}"
    if "tool_calls" in turn and "tool_calls" in message:
        both["tool_calls"] = [*turn["tool_calls"], *message["tool_calls"]]
    return both


def _complete(turn: dict[str, Any]) -> dict[str, Any]:
    is_empty = turn["role"] == "assistant" and not turn.keys() & {"content", "tool_calls"}
    return {**turn, "content": ""} if is_empty else turn
