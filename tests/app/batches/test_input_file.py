"""Lines of a file, numbered and bounded."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batches.input_file import BLANK, BOM, WrittenLine, written_lines


def lines(content: bytes, limit: int = 100) -> list[WrittenLine]:
    return list(written_lines(io.BytesIO(content), limit))


def contents(content: bytes, limit: int = 100) -> list[bytes | None]:
    return [line.content for line in lines(content, limit)]


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t\n", b"\xef\xbb\xbf", b"\n" * 200_000])
def test_a_blank_file_has_no_lines(content: bytes) -> None:
    assert [line.content for line in lines(content) if line.content] == []
    assert len(lines(content)) <= 1


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n \n", b" " * 200_000])
@pytest.mark.parametrize("between", [b"\n", b"\r\n", b" \n\t"])
def test_line_endings_are_of_any_kind_and_the_last_may_lack(between: bytes, end: bytes) -> None:
    assert contents(b"a" + between + b"b" + end) == [b"a", b"b"]


def test_a_byte_order_mark_is_left_out() -> None:
    assert lines(b"\xef\xbb\xbfa\nb") == [WrittenLine(1, 3, b"a"), WrittenLine(2, 5, b"b")]


def test_blank_lines_count_and_those_at_the_end_are_left_out() -> None:
    found = lines(b"\na\n\n b\n\n\n")
    assert [(line.number, line.content) for line in found] == [
        (1, b""),
        (2, b"a"),
        (3, b""),
        (4, b"b"),
    ]


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_a_line_of_the_limit_is_read_and_a_longer_one_is_not(ending: bytes) -> None:
    assert contents(b"x" * 100 + ending) == [b"x" * 100]
    assert contents(b"x" * 101 + ending) == [None]
    assert contents(b"x" * 101 + b"\r\ry" + ending) == [None]


def test_lines_behind_a_long_one_are_numbered_as_before() -> None:
    long = b"x" * 500_000
    found = lines(b"a\n" + long + b"\nb\n" + long)
    assert [(line.number, line.content) for line in found] == [
        (1, b"a"),
        (2, None),
        (3, b"b"),
        (4, None),
    ]


def test_a_line_that_hides_its_length_behind_carriage_returns_is_too_long() -> None:
    assert contents(b"x" * 100 + b"\r" * 50 + b"y\nb") == [None, b"b"]


TEXTS = st.binary(max_size=30).filter(lambda text: b"\n" not in text and BOM not in text)


@given(st.lists(TEXTS, max_size=20))
def test_every_line_is_found_where_an_editor_shows_it(texts: list[bytes]) -> None:
    content = b"\n".join(texts)
    found = lines(content, limit=20)
    assert [line.number for line in found] == list(range(1, len(found) + 1))
    assert not b"".join(texts[len(found) :]).strip(BLANK)
    for line, text in zip(found, texts, strict=False):
        if line.content is None:
            assert len(text) > 20
        else:
            assert line.content == text.strip(BLANK)
            assert content[line.start : line.start + len(line.content)] == line.content
