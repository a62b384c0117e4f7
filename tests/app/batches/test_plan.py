"""Which lines stand together, and how their order is cut into chunks."""

from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batches.plan import (
    CHUNK_BYTES,
    StoredEntry,
    cut,
    entry_of,
    model_parts,
    prefix_key,
)
from app.batches.types import ChunkSpec, Line
from tests.app.batches.lines import adapter

SYSTEM = "You are a careful clerk. " * 800


def chat(*texts: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text} for text in texts], **more}


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("base", ("base", "")),
        ("org/base-1.5", ("org/base-1.5", "")),
        (adapter("name"), ("base", adapter("name"))),
        (adapter("name-0123456789ab"), ("base", adapter("name-0123456789ab"))),
        (adapter("n", base="org/base"), ("org/base", adapter("n", base="org/base"))),
        ("x" * 255, ("x" * 255, "")),
        ("x" * 256, ("", "")),
        ("", ("", "")),
        ("a\0b", ("", "")),
        ("ft:base", ("ft:base", "")),
        (adapter("name", base="a\0b"), ("", "")),
        (adapter("x" * 77, base="b" * 200), ("", "")),
    ],
)
def test_a_model_id_names_a_base_and_perhaps_an_adapter(model: str, parts: tuple[str, str]) -> None:
    assert model_parts(model) == parts


@given(st.text())
def test_the_parts_of_any_id_fit_into_a_chunks_row(model: str) -> None:
    base, adapter = model_parts(model)
    assert len(base) <= 255
    assert len(adapter) <= 512
    assert "\0" not in base + adapter


def order(*bodies: dict[str, Any]) -> list[int]:
    """Sort lines of one model with these bodies; return their numbers."""
    entries = [
        entry_of(Line(number, "", "/v1/responses", {"model": "m", **body}, 1), start=0, length=1)
        for number, body in enumerate(bodies, 1)
    ]
    return [entry.number for entry in sorted(entries)]


def test_lines_that_begin_alike_stand_together_in_their_first_order() -> None:
    one, two = "A: " + SYSTEM, "B: " + SYSTEM
    found = order(*(chat(text, str(n)) for n in range(10) for text in (one, two)))
    ones, twos = list(range(1, 21, 2)), list(range(2, 21, 2))
    assert found in (ones + twos, twos + ones)


def test_the_longer_the_common_beginning_the_nearer_they_stand() -> None:
    texts = {
        f"{first}{second}": first * 300 + second * 900
        for first in ("x", "y")
        for second in ("a", "b")
    }
    bodies = [chat(texts[name], str(n)) for n in range(4) for name in texts]
    names = [list(texts)[(number - 1) % 4] for number in order(*bodies)]
    assert len(list(groupby(names))) == 4
    assert len(list(groupby(names, key=lambda name: name[0]))) == 2


@pytest.mark.parametrize(
    "begun",
    [
        lambda text: chat(text, "x"),
        lambda text: {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]},
        lambda text: {"prompt": text},
        lambda text: {"prompt": [text]},
        lambda text: {"prompt": [ord(letter) for letter in text]},
        lambda text: {"prompt": [[ord(letter) for letter in text]]},
        lambda text: {"input": text},
        lambda text: {"instructions": text, "input": "x"},
        lambda text: {"query": text, "docs": ["d"]},
        lambda text: chat("x", tools=[{"type": "function", "function": {"name": text}}]),
    ],
)
def test_the_prompt_of_every_endpoint_counts(begun: Any) -> None:
    assert prefix_key(begun("a" * 2000)) == prefix_key(begun("a" * 2000))
    assert prefix_key(begun("a" * 2000)) != prefix_key(begun("b" * 2000))


def test_what_is_not_prompt_does_not_count() -> None:
    assert prefix_key(chat("Hi", temperature=1, user="a")) == prefix_key(chat("Hi", seed=7))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"messages": JSON, "prompt": JSON, "input": JSON}))
def test_a_body_of_any_kind_has_a_key(body: dict[str, Any]) -> None:
    assert len(prefix_key(body)) == 16


def cut_all(*entries: StoredEntry, lines: int = 64) -> list[ChunkSpec]:
    return list(cut(entries, {"base", "other"}, chunk_lines=lines))


def test_a_chunk_has_lines_of_one_adapter() -> None:
    entries = [
        StoredEntry(base, name, 10)
        for base, name in [("base", ""), ("base", ""), ("base", "a"), ("base", "b"), ("other", "")]
    ]
    assert cut_all(*entries) == [
        ChunkSpec("base", "", 0, 20, 2),
        ChunkSpec("base", "a", 20, 10, 1),
        ChunkSpec("base", "b", 30, 10, 1),
        ChunkSpec("other", "", 40, 10, 1),
    ]


def test_lines_that_ask_nothing_that_is_served_share_chunks_of_no_model() -> None:
    entries = [StoredEntry("gone", "", 10), StoredEntry("gone", "x", 10), StoredEntry("no", "", 10)]
    assert cut_all(*entries) == [ChunkSpec("", "", 0, 30, 3)]


def test_a_chunk_has_no_more_lines_than_wanted() -> None:
    chunks = cut_all(*[StoredEntry("base", "", 10)] * 10, lines=4)
    assert [chunk.lines for chunk in chunks] == [4, 4, 2]


def test_a_line_that_is_longer_than_a_chunk_stands_alone() -> None:
    sizes = [10, CHUNK_BYTES + 1, 10, CHUNK_BYTES - 10, 1]
    chunks = cut_all(*(StoredEntry("base", "", size) for size in sizes))
    assert [chunk.length for chunk in chunks] == [10, CHUNK_BYTES + 1, CHUNK_BYTES, 1]
