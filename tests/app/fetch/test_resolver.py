"""The machine's own resolver."""

import pytest

from app.fetch.addresses import is_public, parse_address
from app.fetch.resolver import SystemResolver


async def test_a_name_has_the_addresses_that_the_machine_gives_it():
    resolver = SystemResolver()
    try:
        addresses = [parse_address(text) for text in await resolver("localhost", 443)]
    finally:
        resolver.close()
    assert addresses
    assert not any(address is None or is_public(address) for address in addresses)


async def test_a_name_that_cannot_be_is_an_error():
    resolver = SystemResolver()
    try:
        with pytest.raises((OSError, UnicodeError)):
            await resolver("a..b", 443)
    finally:
        resolver.close()
