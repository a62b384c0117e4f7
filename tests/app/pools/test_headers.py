"""What is for one hop alone stays behind, and everything else goes on."""

import string

from hypothesis import given
from hypothesis import strategies as st

from app.pools.headers import (
    FORWARDED,
    OF_ONE_HOP,
    WRITTEN_ANEW,
    is_forwarded,
    of_request,
    passed_on,
)

TOKENS = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=12).map(
    str.encode
)
KNOWN = st.sampled_from(sorted(OF_ONE_HOP | WRITTEN_ANEW)).flatmap(
    lambda name: st.sampled_from([name, name.title(), name.upper()])
)
HEADERS = st.lists(st.tuples(TOKENS | KNOWN, st.binary(max_size=8)), max_size=8)


@given(HEADERS)
def test_no_header_of_one_hop_goes_on(headers: list[tuple[bytes, bytes]]) -> None:
    names = {name for name, _ in passed_on(headers)}
    assert not names & (OF_ONE_HOP | WRITTEN_ANEW)


@given(HEADERS)
def test_all_others_go_on_in_order_with_their_values(headers: list[tuple[bytes, bytes]]) -> None:
    connection = [(name, value) for name, value in headers if name.lower() != b"connection"]
    kept = [(name.lower(), value) for name, value in connection]
    kept = [pair for pair in kept if pair[0] not in OF_ONE_HOP | WRITTEN_ANEW]
    assert passed_on(connection) == kept


@given(HEADERS, st.lists(TOKENS, min_size=1, max_size=3))
def test_what_connection_names_stays_behind(
    headers: list[tuple[bytes, bytes]], named: list[bytes]
) -> None:
    told = [(b"Connection", b" , ".join(named)), *((name, b"x") for name in named)]
    left = passed_on([*headers, *told])
    assert not {name for name, _ in left} & {name.lower() for name in named}


@given(HEADERS)
def test_a_request_that_goes_on_is_marked_once(headers: list[tuple[bytes, bytes]]) -> None:
    sent = of_request([pair for pair in headers if pair[0].lower() != FORWARDED])
    assert [name for name, _ in sent].count(FORWARDED) == 1
    assert is_forwarded(sent)


def test_the_mark_is_known_however_it_is_written() -> None:
    assert is_forwarded([(b"X-LoRA-API-Forwarded", b"")])
    assert not is_forwarded([(b"x-forwarded-for", b"1.2.3.4")])
