"""Base64 in a URL is decoded strictly and never past the limit."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fetch.content import FetchFailed, TooLarge, UrlRefused
from app.fetch.data_urls import decode_data_url, is_data_url

LIMIT = 1000


def _decode(text: str, max_bytes: int = LIMIT) -> bytes:
    return decode_data_url(text, max_bytes=max_bytes).content


@given(st.binary(max_size=LIMIT))
def test_both_alphabets_come_back_with_and_without_padding(content: bytes):
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(content).decode()
        assert _decode(f"data:image/png;base64,{text}") == content
        assert _decode(f"data:image/png;base64,{text.rstrip('=')}") == content


@given(st.binary(max_size=64), st.integers(0, 80))
def test_the_limit_is_exact(content: bytes, limit: int):
    text = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    if len(content) <= limit:
        assert _decode(text, limit) == content
    else:
        with pytest.raises(TooLarge):
            _decode(text, limit)


@given(st.text(max_size=40))
def test_any_content_is_decoded_or_refused(text: str):
    try:
        content = _decode(f"data:image/png;base64,{text}")
    except UrlRefused:
        return
    standard = text.translate(str.maketrans("-_", "+/")).rstrip("=")
    # The last character may hold bits that belong to no byte.
    assert base64.b64encode(content).decode().rstrip("=")[:-1] == standard[:-1]


@given(st.text(max_size=60).map("data:".__add__))
def test_any_text_behind_data_is_decoded_or_refused(text: str):
    with contextlib.suppress(FetchFailed):
        assert isinstance(_decode(text), bytes)


@pytest.mark.parametrize(
    "text",
    [
        "data:",
        "data:image/png",
        "data:image/png,AAAA",
        "data:image/png;base64",
        "data:image/png;base64;AAAA",
        "data:image/png;charset=utf-8,AAAA",
        "data:image;base64,AAAA",
        "data:image/png; base64,AAAA",
        "data:image/png;base64,AA AA",
        "data:image/png;base64,AAAA\n",
        "data:image/png;base64,AAA%3D",
        "data:image/png;base64,AA=",
        "data:image/png;base64,AA===",
        "data:image/png;base64,=AAA",
        "data:image/png;base64,AA==AA==",
        "data:image/png;base64,AAAAA",
        "data:image/png;base64,+A-A",
        "data:image/png;base64,AAAé",
        "data:" + "x" * 300 + ";base64,AAAA",
    ],
)
def test_anything_but_plain_base64_is_refused(text: str):
    with pytest.raises(UrlRefused):
        _decode(text)


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        ("data:image/png", "image/png"),
        ("DATA:Image/PNG", "image/png"),
        ("data:audio/x-wav;codecs=1", "audio/x-wav"),
        ("data:application/vnd.a+b", "application/vnd.a+b"),
        ("data:", "text/plain"),
    ],
)
def test_the_claimed_type_is_told(head: str, media_type: str):
    assert decode_data_url(f"{head};base64,AAAA", max_bytes=9).media_type == media_type


def test_a_data_url_is_known_by_its_beginning():
    assert is_data_url("data:x")
    assert is_data_url("DaTa:x")
    assert not is_data_url("https://data:x")
    assert not is_data_url(" data:x")
