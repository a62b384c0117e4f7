"""What counts as public, however it is spelled."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fetch.addresses import is_public, parse_address

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)


def _embedded(prefix: str, address: IPv4Address) -> IPv6Address:
    return IPv6Address(int(IPv6Address(prefix)) | int(address))


@given(V4)
def test_what_python_knows_as_not_global_is_not_public(address: IPv4Address):
    if not address.is_global or address.is_multicast:
        assert not is_public(address)


@given(V6)
def test_what_python_knows_as_not_global_is_not_public_in_ipv6_either(address: IPv6Address):
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@given(V4)
@pytest.mark.parametrize("prefix", ["::ffff:0:0", "64:ff9b::"])
def test_an_ipv4_address_inside_an_ipv6_one_counts_as_itself(prefix: str, address: IPv4Address):
    assert is_public(_embedded(prefix, address)) is is_public(address)


@given(V4)
def test_an_ipv4_compatible_address_is_never_public(address: IPv4Address):
    assert not is_public(_embedded("::", address))


@given(st.integers(0, 2**112 - 1))
def test_a_6to4_address_is_never_public(rest: int):
    assert not is_public(IPv6Address(int(IPv6Address("2002::")) | rest))


@given(st.integers(0, 2**96 - 1))
def test_a_teredo_address_is_never_public(rest: int):
    assert not is_public(IPv6Address(int(IPv6Address("2001::")) | rest))


@given(V6)
def test_only_global_unicast_and_what_holds_ipv4_can_be_public(address: IPv6Address):
    holds_ipv4 = address.ipv4_mapped is not None or address in IPv6Network("64:ff9b::/96")
    if is_public(address) and not holds_ipv4:
        assert address in IPv6Network("2000::/3")


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "fd00:ec2::254",
        "fd20:ce::254",
    ],
)
def test_metadata_services_are_not_public(text: str):
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111"]
)
def test_ordinary_addresses_are_public(text: str):
    assert is_public(ip_address(text))


@given(V4 | V6)
def test_an_address_in_its_usual_spelling_is_read(address: IPv4Address | IPv6Address):
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", ["127.1", "0x7f.0.0.1", "127.0.0.01", "fe80::1%eth0", "", "a.b"])
def test_another_spelling_is_not(text: str):
    assert parse_address(text) is None
