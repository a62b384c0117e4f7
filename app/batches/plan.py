"""In which order a batch's lines are stored, and how that order is cut into chunks.

Lines of one adapter stand together, so that it is loaded once; among them those whose prompts
begin alike, so that the engine's prefix cache serves them. The order depends on nothing but the
file: two processes that validate the same batch write the same bytes. What this deployment serves
only decides how the chunks are labelled.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from app.batches.types import ChunkSpec, Line

CHUNK_BYTES = 4 << 20
"""Most bytes of a chunk; a longer line has one to itself."""
PREFIX_BYTES = (256, 1 << 10, 4 << 10, 16 << 10)
"""Lengths of beginnings that are compared: the longer it is that two have in common, the nearer
they stand."""
PROMPT_FIELDS = ("tools", "instructions", "messages", "prompt", "input", "query")
"""Fields of any endpoint that the engine reads, in the order in which it reads them."""
MAX_BASE_CHARACTERS = 255

_FINE_TUNED = re.compile(r"ft:(?P<base>[^:\0]{1,255}):org_[a-z0-9]{26}/[a-z0-9-]{1,76}")


class Entry(NamedTuple):
    """A good line of the client's file: where its content lies, and first what it is sorted by."""

    base: str
    adapter: str
    prefix: bytes
    number: int
    start: int
    length: int
    url: str


class StoredEntry(NamedTuple):
    """A line of the ordered input, of `length` bytes."""

    base: str
    adapter: str
    length: int


def entry_of(line: Line, *, start: int, length: int) -> Entry:
    """Make the entry of a line whose content is these bytes of the client's file."""
    base, adapter = model_parts(line.body["model"])
    return Entry(base, adapter, prefix_key(line.body), line.number, start, length, line.url)


def model_parts(model: str) -> tuple[str, str]:
    """Return the base model and the adapter that a model id asks for; empty where it cannot be one.

    Whether there are such a base and such an adapter is for whoever runs the line.
    """
    if match := _FINE_TUNED.fullmatch(model):
        return match["base"], model
    is_base = 1 <= len(model) <= MAX_BASE_CHARACTERS and "\0" not in model
    return (model, "") if is_base else ("", "")


def prefix_key(body: Mapping[str, Any]) -> bytes:
    """Return a key by which bodies sort next to those whose prompts begin alike."""
    prompt = _beginning(body)
    key, hashed, done = b"", 0, 0
    for length in PREFIX_BYTES:
        hashed = crc32(prompt[done:length], hashed)
        key += hashed.to_bytes(4)
        done = length
    return key


def _beginning(body: Mapping[str, Any]) -> bytes:
    pieces, left = [], PREFIX_BYTES[-1]
    for text in _texts([body.get(name) for name in PROMPT_FIELDS]):
        # The separator keeps the ends of texts apart. A character has at least one byte.
        piece = text[:left].encode() + b"\0"
        pieces.append(piece)
        left -= len(piece)
        if left <= 0:
            break
    return b"".join(pieces)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from _texts(child)
    elif isinstance(value, list) and value and isinstance(value[0], int):
        # Token ids, thousands of them: walked one by one they would take longest of all.
        yield str(value[: PREFIX_BYTES[-1]])
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child)


def cut(
    entries: Iterable[StoredEntry], served: Collection[str], *, chunk_lines: int
) -> Sequence[ChunkSpec]:
    """Cut the ordered input into chunks. Lines that ask no served model are alike."""
    chunks: list[ChunkSpec] = []
    at = 0
    for entry in entries:
        model, adapter = (entry.base, entry.adapter) if entry.base in served else ("", "")
        last = chunks[-1] if chunks else None
        if last and _has_room(last, model, adapter, entry.length, chunk_lines):
            chunks[-1] = last._replace(length=last.length + entry.length, lines=last.lines + 1)
        else:
            chunks.append(ChunkSpec(model, adapter, at, entry.length, 1))
        at += entry.length
    return chunks


def _has_room(chunk: ChunkSpec, model: str, adapter: str, length: int, lines: int) -> bool:
    return (
        (chunk.model, chunk.adapter) == (model, adapter)
        and chunk.lines < lines
        and chunk.length + length <= CHUNK_BYTES
    )
