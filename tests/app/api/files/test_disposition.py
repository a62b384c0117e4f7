"""The Content-Disposition header for hostile names."""

import re
from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.api.files.disposition import content_disposition

HEADER = re.compile(
    r"attachment; filename=\"[A-Za-z0-9._ -]*\"; filename\*=UTF-8''[A-Za-z0-9!#$&+.^_`|~%-]*"
)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=255))
@example('"; filename="evil.exe')
@example("a\r\nset-cookie: x=y")
@example("\u202egpj.exe\0")
def test_any_name_comes_back_exactly_and_nothing_else_gets_in(filename: str) -> None:
    header = content_disposition(filename)
    assert HEADER.fullmatch(header)
    assert unquote(header.split("''")[1]) == filename


@pytest.mark.parametrize("filename", ["日本語🎉.zip", '"; filename="evil.exe', "a\\b;c'd.zip"])
def test_a_mime_parser_reads_the_exact_name(filename: str) -> None:
    message = Message()
    exact = content_disposition(filename).split("; ")[-1]
    message["content-disposition"] = f"attachment; {exact}"
    assert message.get_filename() == filename


@pytest.mark.parametrize("filename", ["a.jsonl", "my adapter-1.zip"])
def test_a_plain_name_is_also_given_plainly(filename: str) -> None:
    assert f'filename="{filename}"' in content_disposition(filename)
