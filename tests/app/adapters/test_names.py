"""An id reads in exactly one way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters_registry.types import Digest
from app.adapters.names import NAME, Alias, fine_tuned_model, is_valid_name, parse_alias
from app.ids import new_id

names = st.from_regex(NAME, fullmatch=True).filter(is_valid_name)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True).map(Digest)


@given(name=names, digest=digests)
def test_an_alias_reads_back_and_a_version_is_no_alias(name: str, digest: Digest) -> None:
    alias = Alias("org/base-1", new_id("org"), name)
    model = fine_tuned_model(alias, digest)

    assert parse_alias(model) is None
    assert parse_alias(model.removesuffix(f"-{digest[:12]}")) == alias


@given(st.text())
def test_no_other_text_is_an_alias(text: str) -> None:
    assert parse_alias(text) is None


@pytest.mark.parametrize(
    "name", ["", "A", "a" * 64, "-a", "a-", "a_b", "a/b", "a\n", "ä", "x-0123456789ab"]
)
def test_a_bad_name_is_refused(name: str) -> None:
    assert not is_valid_name(name)


@pytest.mark.parametrize(
    "name", ["a", "0", "my-lora-2", "a" * 63, "x-0123456789abc", "x-0123456789aZ".lower()]
)
def test_a_good_name_is_taken(name: str) -> None:
    assert is_valid_name(name)
