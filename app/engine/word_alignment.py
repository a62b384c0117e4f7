"""From where a model looked while it wrote each token to when each word is spoken; numpy only.

Tokens are grouped into words: by spaces, or by characters where a language writes none; punctuation
goes with the word that it stands at. A word is spoken from where the path enters its first token
until it enters the first one of the next.

**Source:** whisper.timing.dtw and merge_punctuations, whisper.tokenizer.split_to_word_tokens.
"""

import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Decode = Callable[[Sequence[int]], str]

WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
OPENING = "\"'“¿([{-"
CLOSING = "\"'.。,，!！?？:：”)]}、"
HALF_CHARACTER = "\ufffd"

DIAGONAL, TOKEN, FRAME = 0, 1, 2


@dataclass(frozen=True, slots=True)
class TokenWord:
    """A word as it is written, with the space before it, and how many tokens it takes."""

    text: str
    tokens: int


def grouped(tokens: Sequence[int], decode: Decode, language: str) -> list[TokenWord]:
    """Return the words of text tokens, in order; all tokens belong to one."""
    pieces = list(_characters(tokens, decode))
    if language not in WITHOUT_SPACES:
        pieces = _joined_by_spaces(pieces)
    return _with_punctuation(pieces)


def entered(looked_at: Matrix) -> NDArray[np.intp]:
    """Return the frame at which the likeliest path enters each token.

    `looked_at` is (tokens, frames), higher where the model looks; the path goes from the first
    token and frame to the last and never back.
    """
    tokens, frames = looked_at.shape
    steps = _steps(-looked_at.astype(np.float64))
    first = np.zeros(tokens, dtype=np.intp)
    token, frame = tokens - 1, frames - 1
    while token > 0 or frame > 0:
        first[token] = frame
        step = steps[token + frame, token]
        token -= step != FRAME
        frame -= step != TOKEN
    first[0] = 0
    return first


def _steps(cost: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return how each place is best reached; [token + frame, token], so that a row has no order."""
    tokens, frames = cost.shape
    skewed = np.full((tokens + frames - 1, tokens), np.inf)
    for token in range(tokens):
        skewed[token : token + frames, token] = cost[token]
    steps = np.full(skewed.shape, FRAME, dtype=np.int8)
    before = np.full(tokens + 1, np.inf)
    last = before.copy()
    last[1] = skewed[0, 0]
    for row in range(1, len(skewed)):
        ways = np.stack([before[:-1], last[:-1], last[1:]])
        best = ways.argmin(axis=0)
        steps[row] = best
        before, last = last, np.concatenate(([np.inf], ways.min(axis=0) + skewed[row]))
    return steps


def _characters(tokens: Sequence[int], decode: Decode) -> Iterator[TokenWord]:
    """Join tokens until they make whole characters."""
    waiting: list[int] = []
    for token in tokens:
        waiting.append(token)
        text = decode(waiting)
        if HALF_CHARACTER not in text:
            yield TokenWord(text, len(waiting))
            waiting = []
    if waiting:
        yield TokenWord(decode(waiting), len(waiting))


def _joined_by_spaces(pieces: Sequence[TokenWord]) -> list[TokenWord]:
    words: list[TokenWord] = []
    for piece in pieces:
        begins = piece.text.startswith(" ") or _is_all(piece.text, string.punctuation)
        if begins or not words:
            words.append(piece)
        else:
            words[-1] = _together(words[-1], piece)
    return words


def _with_punctuation(words: Sequence[TokenWord]) -> list[TokenWord]:
    closed: list[TokenWord] = []
    for word in words:
        if closed and _is_all(word.text, CLOSING) and not closed[-1].text.endswith(" "):
            closed[-1] = _together(closed[-1], word)
        else:
            closed.append(word)
    opened: list[TokenWord] = []
    for word in reversed(closed):
        if opened and word.text.startswith(" ") and _is_all(word.text.strip(), OPENING):
            opened[-1] = _together(word, opened[-1])
        else:
            opened.append(word)
    return opened[::-1]


def _is_all(text: str, characters: str) -> bool:
    return all(character in characters for character in text)


def _together(first: TokenWord, second: TokenWord) -> TokenWord:
    return TokenWord(first.text + second.text, first.tokens + second.tokens)
