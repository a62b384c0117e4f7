"""URLs are read in one way or not at all."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fetch.content import UrlRefused
from app.fetch.targets import MAX_CHARACTERS, Policy, Target, parse_url

ANYWHERE = Policy.parse(["https", "http"], ["*"])
URL_LIKE = st.text(
    alphabet=st.sampled_from("htps:/\\@#?[]%.0123456789abcdefxX-_ \t\r\n\x00é。") | st.characters(),
    max_size=60,
)
LABELS = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a.example", Target("https", "a.example", 443, "/")),
        ("https://a.example/b/c.png?d=e&f", Target("https", "a.example", 443, "/b/c.png?d=e&f")),
        ("HTTPS://A.Example:443/B", Target("https", "a.example", 443, "/B")),
        ("http://a.example?b#c", Target("http", "a.example", 80, "/?b")),
        ("https://a.example/#@b.example/", Target("https", "a.example", 443, "/")),
        ("https://a.example/@b.example:1/", Target("https", "a.example", 443, "/@b.example:1/")),
        ("https://1.1.1.1/", Target("https", "1.1.1.1", 443, "/")),
        ("https://[2606:4700:0::1111]/", Target("https", "2606:4700::1111", 443, "/")),
        ("https://xn--bcher-kva.example/", Target("https", "xn--bcher-kva.example", 443, "/")),
        ("https://my_bucket.example/%20/", Target("https", "my_bucket.example", 443, "/%20/")),
    ],
)
def test_an_ordinary_url_is_taken_apart(url: str, target: Target):
    assert parse_url(url, ANYWHERE) == target


@given(st.just("https://").flatmap(lambda start: URL_LIKE.map(start.__add__)) | URL_LIKE)
def test_any_text_is_refused_or_read_without_doubt(text: str):
    try:
        target = parse_url(text, ANYWHERE)
    except UrlRefused:
        return
    assert re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", target.host)
    assert target.path.startswith("/")
    assert target.path.isascii()
    assert target.path.isprintable()
    assert not set(target.path) & set(" \\#")
    assert parse_url(target.url, ANYWHERE) == target


@given(HOSTS, st.sampled_from(["", "/", "/x?y=z"]))
def test_a_name_is_kept_as_it_is(host: str, path: str):
    target = parse_url(f"https://{host}{path}", ANYWHERE)
    assert (target.host, target.authority) == (host, host)


@given(st.lists(st.from_regex(r"[0-9]{1,4}|0x[0-9a-f]{0,8}", fullmatch=True), max_size=4))
def test_numbers_are_hosts_only_as_four_plain_bytes(numbers: list[str]):
    plain = len(numbers) == 4 and all(
        number.isdigit() and str(int(number)) == number and int(number) < 256 for number in numbers
    )
    try:
        parse_url(f"https://{'.'.join(numbers)}/", ANYWHERE)
    except UrlRefused:
        assert not plain
    else:
        assert plain


@pytest.mark.parametrize("who", ["user", "user:secret", ":", ""])
def test_a_user_name_is_refused_by_its_name(who: str):
    with pytest.raises(UrlRefused, match="user name"):
        parse_url(f"https://{who}@a.example/", ANYWHERE)


def test_a_long_url_is_refused():
    parse_url("https://a.example/".ljust(MAX_CHARACTERS, "x"), ANYWHERE)
    with pytest.raises(UrlRefused, match="8192"):
        parse_url("https://a.example/".ljust(MAX_CHARACTERS + 1, "x"), ANYWHERE)


def test_only_https_is_read_unless_the_operator_allows_more():
    https = Policy.parse(["https"], ["*"])
    assert parse_url("https://a.example/", https).scheme == "https"
    with pytest.raises(UrlRefused, match=r"begin with https://$"):
        parse_url("http://a.example/", https)
    with pytest.raises(UrlRefused, match="begin with https:// or http://"):
        parse_url("ftp://a.example/", ANYWHERE)


@pytest.mark.parametrize("port", [80, 8443, 22, 0, 65536, 99999])
def test_other_ports_than_the_schemes_own_are_refused(port: int):
    with pytest.raises(UrlRefused, match="port"):
        parse_url(f"https://a.example:{port}/", ANYWHERE)


def test_a_named_host_may_have_a_port_of_its_own():
    policy = Policy.parse(["http"], ["minio.storage.svc:9000"])
    assert policy.names(parse_url("http://MINIO.storage.svc:9000/bucket", policy))
    for url in ("http://minio.storage.svc/", "http://minio.storage.svc:9001/"):
        with pytest.raises(UrlRefused):
            parse_url(url, policy)


@pytest.mark.parametrize("entry", ["10.0.0.5", "[FD00::5]", "bucket.internal"])
def test_a_named_host_without_a_port_has_the_schemes_own(entry: str):
    policy = Policy.parse(["https"], [entry])
    assert policy.names(parse_url(f"https://{entry}/x", policy))
    with pytest.raises(UrlRefused):
        parse_url(f"https://{entry}:9000/x", policy)


def test_without_a_star_only_named_hosts_are_read():
    with pytest.raises(UrlRefused, match="host"):
        parse_url("https://a.example/", Policy.parse(["https"], ["b.example"]))
    with pytest.raises(UrlRefused, match="host"):
        parse_url("https://a.example/", Policy.parse(["https"], []))


def test_a_name_does_not_stand_for_names_below_it():
    policy = Policy.parse(["https"], ["*", "internal.example"])
    assert not policy.names(parse_url("https://a.internal.example/", policy))


@pytest.mark.parametrize("entry", ["", "a b", "user@a.example", "127.1", "a.example:0", "*.a"])
def test_an_entry_that_no_url_could_match_is_an_error(entry: str):
    with pytest.raises(ValueError, match="neither"):
        Policy.parse(["https"], [entry])
