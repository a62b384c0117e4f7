"""Keys, their hashes and the salts."""

import pytest

from app.auth.keys import cache_salt, hash_key, is_key_shaped, new_key

PEPPER = b"p" * 32


def test_a_new_key_is_gsk_and_52_url_safe_characters() -> None:
    assert is_key_shaped(new_key())


def test_keys_do_not_repeat() -> None:
    assert len({new_key() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gsk_",
        "gsk_" + "a" * 51,
        "gsk_" + "a" * 53,
        "gsk_" + "ä" * 52,
        "gsk_" + "a" * 52 + "\n",
        "sk-" + "a" * 53,
    ],
)
def test_other_texts_are_not_taken_for_keys(text: str) -> None:
    assert not is_key_shaped(text)


def test_a_hash_is_64_hex_digits_and_stays_the_same() -> None:
    key = new_key()
    assert hash_key(PEPPER, key) == hash_key(PEPPER, key)
    assert len(bytes.fromhex(hash_key(PEPPER, key))) == 32


def test_a_hash_depends_on_key_and_pepper() -> None:
    assert hash_key(PEPPER, "a") != hash_key(PEPPER, "b")
    assert hash_key(PEPPER, "a") != hash_key(b"q" * 32, "a")


def test_salts_differ_between_organisations_and_from_hashes() -> None:
    assert cache_salt(PEPPER, "org_a") != cache_salt(PEPPER, "org_b")
    assert cache_salt(PEPPER, "org_a") != hash_key(PEPPER, "org_a")


def test_a_salt_is_short_enough_for_the_engine() -> None:
    assert len(cache_salt(PEPPER, "org_a")) == 64
