"""A model's control tokens in callers' text: they stay text, so that nobody forges a role.

A tokenizer takes `<|im_start|>` for the token that begins a turn wherever it reads it. Such
literals are replaced by placeholders before the chat template runs; in the rendered text each
placeholder becomes the tokens of the literal's characters. Other text goes the usual way.

Templates read more than strings as they stand: names of properties, the parts of a message one
behind the other, and the arguments of calls with their JSON escapes undone.
"""

import copy
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, cast

from app.engine.base import PromptRefused

PREFIX_CHARACTERS = 2
"""Literals share few beginnings; looking for those first is many times as quick."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """Callers' text with placeholders, and what they stand for."""

    value: Any
    mark: str
    literals: Sequence[str]


class ControlTokens:
    """Knows the control tokens of one tokenizer; of a Hugging Face tokenizer only."""

    def __init__(self, tokenizer: Any) -> None:
        # A copy, since splitting is a state of the tokenizer that others use at the same time.
        self._tokenizer = copy.deepcopy(tokenizer)
        self._lock = Lock()
        literals = sorted(_literals(tokenizer), key=len, reverse=True)
        self._prefixes = {literal[:PREFIX_CHARACTERS] for literal in literals}
        self._pattern = re.compile("|".join(map(re.escape, literals)))
        beginnings = {literal[:end] for literal in literals for end in range(1, len(literal))}
        self._beginnings = tuple(sorted(beginnings, key=len, reverse=True))
        self._as_text = {text: self._split(text) for text in (*literals, *beginnings)}

    def hide(self, value: Any) -> Hidden | None:
        """Put placeholders into all strings of a JSON-like value; None where there is nothing."""
        if not any(self._occurs(text) for text in _texts(value)):
            return None
        hiding = _Hiding(self._pattern, self._beginnings)
        return Hidden(hiding.replaced(value), hiding.mark, hiding.literals)

    def tokens(self, rendered: str, hidden: Hidden) -> list[int]:
        """Tokenize a rendered prompt with its placeholders. Blocks; for a thread.

        **Raises:** PromptRefused, where the template has lost a placeholder's form.
        """
        pieces = re.split(f"{hidden.mark}([0-9]+)e", rendered)
        if hidden.mark in "".join(pieces[0::2]):
            raise PromptRefused("A message holds a control token that this model cannot take.")
        ids: list[int] = []
        for text, number in zip(pieces[0::2], [*pieces[1::2], None], strict=True):
            ids += self._encode(text)
            ids += self._as_text[hidden.literals[int(number)]] if number is not None else ()
        return ids

    def _occurs(self, text: str) -> bool:
        return any(prefix in text for prefix in self._prefixes) and (
            self._pattern.search(text) is not None
        )

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        with self._lock:
            encoded = self._tokenizer(text, add_special_tokens=False)
        return cast(list[int], encoded["input_ids"])

    def _split(self, literal: str) -> list[int]:
        options = {"add_special_tokens": False, "split_special_tokens": True}
        return cast(list[int], self._tokenizer(literal, **options)["input_ids"])


class _Hiding:
    """Replaces literals in one value, and remembers them."""

    def __init__(self, pattern: re.Pattern[str], beginnings: tuple[str, ...]) -> None:
        self._pattern = pattern
        self._beginnings = beginnings
        self.mark = f"control{secrets.token_hex(8)}n"
        self.literals: list[str] = []

    def replaced(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._end_replaced(self._pattern.sub(self._placeholder_of, value))
        if isinstance(value, dict):
            return {
                (self.replaced(key) if isinstance(key, str) else key): self.replaced(item)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.replaced(item) for item in value]
        return value

    def _placeholder_of(self, match: re.Match[str]) -> str:
        return self._placeholder(match.group())

    def _end_replaced(self, text: str) -> str:
        """Hide the beginning of a literal at the end, which the next part may complete."""
        if not text.endswith(self._beginnings):
            return text
        beginning = next(each for each in self._beginnings if text.endswith(each))
        return text.removesuffix(beginning) + self._placeholder(beginning)

    def _placeholder(self, literal: str) -> str:
        self.literals.append(literal)
        return f"{self.mark}{len(self.literals) - 1}e"


def unescaped(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write the arguments of calls without JSON escapes, behind which a literal could stand."""
    return [_unescaped(message) for message in messages]


def _unescaped(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls or not any("\\" in call["function"]["arguments"] for call in calls):
        return message
    plain = [{**call, "function": _plain(call["function"])} for call in calls]
    return {**message, "tool_calls": plain}


def _plain(function: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(json.loads(function["arguments"]), ensure_ascii=False)
    return {**function, "arguments": arguments}


def _literals(tokenizer: Any) -> set[str]:
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return {literal for literal in (*added, *tokenizer.all_special_tokens) if literal.strip()}


def _texts(value: Any) -> Iterator[str]:
    """Yield every string, and for a list of text parts what they are one behind the other."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (key for key in value if isinstance(key, str))
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        yield "".join(_part_text(item) for item in value)
        for item in value:
            yield from _texts(item)


def _part_text(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""
