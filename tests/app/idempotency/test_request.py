"""What a key may look like, and which requests are the same."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import ApiError
from app.idempotency.request import CreateRequest, checked_key

PRINTABLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
PARTS = st.lists(st.text(), min_size=1, max_size=4)


@given(st.text(PRINTABLE, min_size=1, max_size=255))
@example("x" * 255)
def test_printable_ascii_is_a_key_as_it_is(key: str) -> None:
    assert checked_key(key) == key


@given(st.text(PRINTABLE, min_size=1, max_size=100), st.sampled_from(["", " ", "\t", "  "]))
def test_blanks_around_a_key_are_the_header_s(key: str, blanks: str) -> None:
    assert checked_key(blanks + key + blanks) == key


@given(
    st.text(PRINTABLE),
    st.characters().filter(lambda one: not " " <= one <= "~"),
    st.text(PRINTABLE, min_size=1),
)
@example("a", "\n", "b")
@example("a", "\0", "b")
@example("a", "é", "b")
def test_any_other_character_is_refused(before: str, odd: str, after: str) -> None:
    with pytest.raises(ApiError):
        checked_key("x" + before + odd + after)


@pytest.mark.parametrize("value", ["", " ", "\t\t", "x" * 256])
def test_a_refusal_names_the_header(value: str) -> None:
    with pytest.raises(ApiError) as caught:
        checked_key(value)
    assert (caught.value.status, caught.value.param) == (400, "Idempotency-Key")
    assert "Idempotency-Key" in caught.value.message


@given(PARTS, PARTS)
@example(["ab", "c"], ["a", "bc"])
@example(["a,b"], ["a", "b"])
@example(['a","b'], ["a", "b"])
def test_different_requests_have_different_fingerprints(one: list[str], two: list[str]) -> None:
    prints = [CreateRequest.of("org", "key", *parts).fingerprint for parts in (one, two)]
    assert (prints[0] == prints[1]) == (one == two)


def test_the_order_of_properties_does_not_count() -> None:
    one, two = ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1})
    prints = [CreateRequest.of("org", "key", "POST /x", part).fingerprint for part in (one, two)]
    assert prints[0] == prints[1]


def test_a_fingerprint_shows_nothing_of_the_request() -> None:
    request = CreateRequest.of("org", "key", "POST /files", "secret")
    assert len(request.fingerprint) == 64
    assert "secret" not in repr(request)
