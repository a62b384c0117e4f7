"""Nothing a caller can write, and nothing a server can answer, leads the service to itself."""

import pytest

from app.errors import ApiError
from tests.app.fetch.hostile_urls import HOSTILE
from tests.app.fetch.world import ANY, ORG, PUBLIC, SITE, World, redirect


async def _refused(internet: World, url: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await internet.fetcher().fetch(url, org_id=ORG, max_bytes=100, accept=ANY, param="url")
    return caught.value


def test_the_table_has_sixty_spellings():
    assert len(set(HOSTILE)) == len(HOSTILE) >= 60


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_hostile_url_reaches_nothing(internet: World, url: str):
    error = await _refused(internet, url)
    assert (error.status, error.param) == (400, "url")
    assert internet.network.connected == []
    assert internet.canary.connections == 0


@pytest.mark.parametrize("url", [url for url in HOSTILE if "\r" not in url and "\x00" not in url])
async def test_a_redirect_to_a_hostile_url_reaches_only_the_site(internet: World, url: str):
    internet.site.answers["/"] = _redirect(url)
    error = await _refused(internet, f"http://{SITE}/")
    assert error.status == 400
    # What reads as a path of the site itself leads back to the site.
    assert {host for host, _ in internet.network.connected} == {PUBLIC}
    assert internet.canary.connections == 0


def _redirect(url: str) -> bytes:
    head, tail = redirect("PLACE").split(b"PLACE")
    return head + url.encode() + tail


@pytest.mark.parametrize(
    "answers",
    [
        [["127.0.0.1"]],
        [[PUBLIC, "10.0.0.1"]],
        [["10.0.0.1", PUBLIC]],
        [["::1"]],
        [["::ffff:10.0.0.1"]],
        [[PUBLIC, "fe80::1%eth0"]],
        [["not an address"]],
        [[]],
    ],
)
async def test_a_name_that_leads_anywhere_private_is_refused(
    internet: World, answers: list[list[str]]
):
    internet.names.known["evil.example"] = answers
    await _refused(internet, "http://evil.example/")
    assert internet.network.connected == []


async def test_a_name_is_looked_up_once_and_its_checked_address_used(internet: World):
    internet.names.known["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    await _refused(internet, "http://rebind.example/missing")
    assert internet.names.asked == ["rebind.example"]
    assert internet.network.connected == [(PUBLIC, 80)]
    assert internet.canary.connections == 0


async def test_a_name_that_turns_private_between_hops_is_refused(internet: World):
    internet.names.known["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    internet.site.answers["/"] = redirect("http://rebind.example/again")
    await _refused(internet, "http://rebind.example/")
    assert internet.network.connected == [(PUBLIC, 80)]
    assert internet.canary.connections == 0


async def test_the_canary_would_sing(internet: World):
    """The table proves something only if a fetch that is let through does arrive."""
    internet.canary.answers["/"] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsong"
    fetcher = internet.fetcher(allowed_hosts=["127.0.0.1"])
    fetched = await fetcher.fetch("http://127.0.0.1/", org_id=ORG, max_bytes=100, accept=ANY)
    assert (fetched.content, internet.canary.connections) == (b"song", 1)
