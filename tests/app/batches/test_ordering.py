"""A file becomes an ordered object in chunks that hold every line once, or a list of errors."""

import json
import threading
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.batches.lines import CHAT, read_line
from app.batches.ordering import MAX_ERRORS, InputRefused, Rules, Stopped, order
from app.batches.plan import CHUNK_BYTES
from app.batches.types import BatchError, ChunkSpec, Line
from tests.app.batches.lines import adapter, body, file_of, request, written

AUDIO = "/v1/audio/transcriptions"
CODES = {
    *("empty_file", "too_many_tasks", "invalid_json_line", "missing_required_parameter"),
    *("duplicate_custom_id", "invalid_method", "invalid_url", "url_mismatch", "line_too_long"),
    "invalid_request",
}


def rules(*, max_lines: int = 1000, line_bytes: int = 4 << 20, chunk_lines: int = 64) -> Rules:
    return Rules(CHAT, max_lines, line_bytes, chunk_lines, frozenset({"base", "other"}))


class Ordered:
    """The ordered object of a file, and its chunks."""

    def __init__(self, content: bytes, chunks: Sequence[ChunkSpec]) -> None:
        self.content = content
        self.chunks = chunks

    def lines(self, chunk: ChunkSpec) -> list[Line]:
        stored = self.content[chunk.start : chunk.start + chunk.length]
        return [read_line(line) for line in stored.splitlines(keepends=True)]


def ordered(content: bytes, limits: Rules | None = None) -> Ordered:
    with TemporaryDirectory() as directory:
        source, target = Path(directory, "source"), Path(directory, "target")
        source.write_bytes(content)
        chunks = order(source, target, limits or rules(), lambda: False)
        return Ordered(target.read_bytes(), chunks)


def errors(content: bytes, limits: Rules | None = None) -> list[BatchError]:
    with pytest.raises(InputRefused) as caught:
        ordered(content, limits)
    return list(caught.value.errors)


def faults(content: bytes, limits: Rules | None = None) -> list[tuple[int | None, str]]:
    return [(error.line, error.code) for error in errors(content, limits)]


MODELS = st.sampled_from(
    ["base", "other", "gone", adapter("a"), adapter("b"), adapter("c", "gone")]
)
LINES = st.lists(
    st.tuples(
        MODELS,
        st.sampled_from([CHAT, AUDIO]),
        st.text(st.characters(codec="utf-8"), max_size=30),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


def line_of(number: int, model: str, url: str, text: str, is_ascii: bool) -> bytes:
    line = request(f"id {number} {text}", url=url, body=body(model, text * 40))
    return json.dumps(line, ensure_ascii=is_ascii).encode()


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(LINES, st.integers(1, 9), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_every_line_is_in_one_chunk_and_reads_as_it_was_written(
    lines: list[tuple[str, str, str, bool]], chunk_lines: int, ending: bytes, is_ended: bool
) -> None:
    texts = [line_of(number, *line) for number, line in enumerate(lines, 1)]
    content = ending.join(texts) + (ending if is_ended else b"")
    made = ordered(content, rules(chunk_lines=chunk_lines))

    ends = [0, *(chunk.start + chunk.length for chunk in made.chunks)]
    assert ends == [*(chunk.start for chunk in made.chunks), len(made.content)]
    found = [line for chunk in made.chunks for line in made.lines(chunk)]
    wanted = [
        Line(number, written["custom_id"], written["url"], written["body"], len(text))
        for number, text in enumerate(texts, 1)
        for written in [json.loads(text)]
    ]
    assert sorted(found, key=lambda line: line.number) == wanted
    for chunk in made.chunks:
        inside = made.lines(chunk)
        assert 1 <= len(inside) == chunk.lines <= chunk_lines
        assert {asked(line, chunk) for line in inside} == {(chunk.model, chunk.adapter)}


def asked(line: Line, chunk: ChunkSpec) -> tuple[str, str]:
    model = line.body["model"]
    base = model.split(":")[1] if ":" in model else model
    if base not in {"base", "other"}:
        return "", ""
    return base, model if ":" in model else ""


def test_the_stored_bytes_do_not_depend_on_what_is_served() -> None:
    lines = [written(f"{n}", body=body(model)) for n, model in enumerate(["b", "a", "c"] * 5)]
    made = {
        ordered(file_of(*lines), Rules(CHAT, 99, 9999, chunk_lines, served)).content
        for chunk_lines in (1, 64)
        for served in (frozenset(), frozenset({"a"}), frozenset({"a", "b"}))
    }
    assert len(made) == 1


def test_each_adapter_has_its_lines_together() -> None:
    models = [adapter("a"), "base", adapter("b")]
    lines = [written(f"{n}", body=body(models[n % 3])) for n in range(30)]
    made = ordered(file_of(*lines))
    assert sorted((chunk.adapter, chunk.lines) for chunk in made.chunks) == [
        ("", 10),
        (adapter("a"), 10),
        (adapter("b"), 10),
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n \n", b"\xef\xbb\xbf\n"])
def test_a_file_without_requests_is_empty(content: bytes) -> None:
    assert faults(content) == [(None, "empty_file")]


def test_too_many_lines_are_one_error() -> None:
    lines = [written(f"{n}") for n in range(4)]
    assert ordered(file_of(*lines), rules(max_lines=4)).chunks
    assert faults(file_of(*lines, b"?"), rules(max_lines=4)) == [(None, "too_many_tasks")]


def test_every_bad_line_is_told_and_none_is_run() -> None:
    content = file_of(
        written("a"),
        written("b", method="GET"),
        b"",
        written("a"),
        b"x" * 2000,
        written("c", url="/v1/embeddings"),
        written("d"),
        b"{",
    )
    assert faults(content, rules(line_bytes=1500)) == [
        (2, "invalid_method"),
        (3, "invalid_json_line"),
        (4, "duplicate_custom_id"),
        (5, "line_too_long"),
        (6, "url_mismatch"),
        (8, "invalid_json_line"),
    ]


def test_a_duplicate_tells_the_first_of_its_kind() -> None:
    [error] = errors(file_of(written("a"), written("b"), written("a")))
    assert (error.line, error.param) == (3, "custom_id")
    assert "line 1" in error.message


def test_no_more_than_a_hundred_errors_are_told() -> None:
    assert faults(file_of(*[b"?"] * 500)) == [
        (number, "invalid_json_line") for number in range(1, MAX_ERRORS + 1)
    ]


@st.composite
def mutated(draw: st.DrawFn) -> tuple[list[bytes], dict[int, bytes]]:
    """Good lines, and others in place of some of them, by index; no new line in any."""
    lines = [written(f"{n}", body=body(text="ab" * n)) for n in range(draw(st.integers(1, 8)))]
    bad = {}
    for index in draw(st.sets(st.integers(0, len(lines) - 1), min_size=1)):
        line = lines[index]
        at = draw(st.integers(0, len(line) - 1))
        cut = draw(st.integers(0, 5))
        more = draw(st.binary(max_size=5).filter(lambda more: b"\n" not in more))
        bad[index] = line[:at] + more + line[at + cut :]
    return lines, bad


@settings(deadline=None)
@given(mutated())
def test_a_mutated_file_is_good_or_has_its_errors_on_the_mutated_lines(
    case: tuple[list[bytes], dict[int, bytes]],
) -> None:
    lines, bad = case
    content = file_of(*(bad.get(index, line) for index, line in enumerate(lines)))
    made, found = outcome(content)
    assert (made is None) == bool(found)
    # A mutated id may be that of a later line, which is the one that is refused then.
    mutated = {index + 1 for index in bad} | {None}
    assert {error.line for error in found if error.code != "duplicate_custom_id"} <= mutated
    assert {error.code for error in found} <= CODES
    if made is not None:
        numbers = [line.number for chunk in made.chunks for line in made.lines(chunk)]
        text = content.rstrip(b" \t\r\n")
        assert sorted(numbers) == list(range(1, text.count(b"\n") + 2))


def outcome(content: bytes) -> tuple[Ordered | None, Sequence[BatchError]]:
    try:
        return ordered(content), ()
    except InputRefused as refused:
        return None, refused.errors


@given(st.binary(max_size=300))
def test_any_bytes_have_errors_and_raise_nothing_else(content: bytes) -> None:
    assert {code for _, code in faults(content)} <= CODES


def test_it_stops_when_nobody_waits(tmp_path: Path) -> None:
    source, gone = tmp_path / "source", threading.Event()
    source.write_bytes(file_of(*(written(f"{n}") for n in range(10))))
    gone.set()
    with pytest.raises(Stopped):
        order(source, tmp_path / "target", rules(), gone.is_set)


def peak_bytes(tmp_path: Path, *, lines: int, text: str) -> int:
    source, target = tmp_path / f"source-{len(text)}", tmp_path / f"target-{len(text)}"
    with source.open("wb") as file:
        for number in range(lines):
            file.write(written(f"{number}", body=body(text=text)) + b"\n")
    tracemalloc.start()
    try:
        order(source, target, rules(max_lines=lines), lambda: False)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_length_of_lines(tmp_path: Path) -> None:
    small = peak_bytes(tmp_path, lines=500, text="x" * 100)
    large = peak_bytes(tmp_path, lines=500, text="x" * 40_000)
    assert large - small < 2 << 20


def test_a_long_line_is_a_chunk_of_its_own() -> None:
    long: dict[str, Any] = body(text="x" * (CHUNK_BYTES + 1))
    content = file_of(written("a"), written("b", body=long), written("c"))
    made = ordered(content, rules(line_bytes=8 << 20))
    assert sorted(chunk.lines for chunk in made.chunks) in ([1, 2], [1, 1, 1])
    assert max(chunk.length for chunk in made.chunks) > CHUNK_BYTES
