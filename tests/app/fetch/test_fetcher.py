"""Fetching from a site that behaves, and from one that does not."""

import asyncio
import base64

import pytest

from app.errors import ApiError, invalid_request
from app.fetch.content import Fetched
from app.fetch.fetcher import MAX_REDIRECTS
from tests.app.fetch.world import (
    ANY,
    ORG,
    PUBLIC,
    PUBLIC_6,
    SITE,
    Conversation,
    World,
    answer,
    redirect,
)

URL = f"http://{SITE}/"
LIMIT = 100_000


async def _fetch(internet: World, url: str = URL, **options: float) -> Fetched:
    return await internet.fetcher(**options).fetch(  # type: ignore[arg-type]
        url, org_id=ORG, max_bytes=LIMIT, accept=ANY, param="image"
    )


async def _refused(internet: World, url: str = URL, **options: float) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await _fetch(internet, url, **options)
    assert (caught.value.status, caught.value.param) == (400, "image")
    return caught.value


async def test_content_comes_with_its_type(internet: World):
    internet.site.answers["/a?b=c"] = answer(b"\x00png", content_type="Image/PNG; x=y")
    assert await _fetch(internet, f"{URL}a?b=c#d") == Fetched(b"\x00png", "image/png")


async def test_content_without_a_type_is_just_bytes(internet: World):
    internet.site.answers["/"] = b"HTTP/1.0 200 OK\r\n\r\ncontent"
    assert await _fetch(internet) == Fetched(b"content", "application/octet-stream")


async def test_chunks_are_put_together(internet: World):
    chunks = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
    internet.site.answers["/"] = head + chunks
    assert (await _fetch(internet)).content == b"abcdefg"


async def test_a_request_tells_nothing_of_us(internet: World, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    internet.site.answers["/"] = answer(set_cookie="a=b")
    fetcher = internet.fetcher()
    for _ in range(2):
        await fetcher.fetch(URL, org_id=ORG, max_bytes=LIMIT, accept=("image/*", "text/plain"))
    wanted = (
        b"get / http/1.1\r\nhost: site.example\r\nuser-agent: lora-inference-api\r\n"
        b"accept: image/*, text/plain\r\naccept-encoding: identity\r\nconnection: close\r\n\r\n"
    )
    assert [request.lower() for request in internet.site.requests] == [wanted, wanted]
    assert internet.network.connected == [(PUBLIC, 80)] * 2


async def test_an_ipv6_site_is_reached_by_its_literal(internet: World):
    internet.site.answers["/"] = answer()
    assert (await _fetch(internet, f"http://[{PUBLIC_6}]/")).content == b"content"
    assert f"host: [{PUBLIC_6}]\r\n".encode() in internet.site.requests[0].lower()


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
async def test_redirects_are_followed(internet: World, status: str):
    internet.names.known["cdn.example"] = [[PUBLIC]]
    internet.site.answers["/"] = redirect("/two", status)
    internet.site.answers["/two"] = redirect("//cdn.example/deep/", status)
    internet.site.answers["/deep/"] = redirect("../end?x", status)
    internet.site.answers["/end?x"] = answer(b"found")
    assert (await _fetch(internet)).content == b"found"
    assert internet.names.asked == [SITE, SITE, "cdn.example", "cdn.example"]


async def test_redirects_end(internet: World):
    for number in range(MAX_REDIRECTS + 2):
        internet.site.answers[f"/{number}"] = redirect(f"/{number + 1}")
    internet.site.answers[f"/{MAX_REDIRECTS + 2}"] = answer()
    assert (await _fetch(internet, f"{URL}2")).content == b"content"
    await _refused(internet, f"{URL}1")


async def test_a_redirect_may_not_leave_what_the_operator_allows(internet: World):
    internet.site.answers["/"] = redirect(f"https://{SITE}/secure")
    with pytest.raises(ApiError):
        await internet.fetcher(schemes=["http"]).fetch(URL, org_id=ORG, max_bytes=LIMIT, accept=ANY)
    assert internet.network.connected == [(PUBLIC, 80)]


@pytest.mark.parametrize("place", ["data:text/plain;base64,AAAA", "http://[", "http://[x]/"])
async def test_a_redirect_to_no_address_is_refused(internet: World, place: str):
    internet.site.answers["/"] = redirect(place)
    await _refused(internet)


async def test_a_redirect_without_a_place_ends(internet: World):
    internet.site.answers["/"] = answer(b"", "302 Found")
    await _refused(internet)


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial", "304 N", "404 N", "500 E"])
async def test_only_a_whole_answer_is_taken(internet: World, status: str):
    internet.site.answers["/"] = answer(status=status)
    await _refused(internet)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "gzip, identity"])
async def test_compressed_content_is_refused(internet: World, encoding: str):
    internet.site.answers["/"] = answer(content_encoding=encoding)
    await _refused(internet)


async def test_identity_is_no_compression(internet: World):
    internet.site.answers["/"] = answer(content_encoding="Identity")
    assert (await _fetch(internet)).content == b"content"


@pytest.mark.parametrize("media_type", ["text/html", "application/json", "imagex/png", "garbage"])
async def test_a_type_that_was_not_asked_for_is_named_before_the_body_is_read(
    internet: World, media_type: str
):
    internet.site.answers["/"] = answer(b"", content_type=media_type, content_length="1")
    error = await _refused(internet)
    assert error.message == (
        "The content must be of type image/*, text/plain, application/octet-stream."
    )


async def _endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    while True:
        writer.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")
        await writer.drain()


async def test_an_endless_body_is_cut_off_at_the_limit(internet: World):
    internet.site.answers["/"] = _endless
    error = await _refused(internet)
    assert error.message == "The content is too large: at most 100000 bytes are accepted."
    async with asyncio.timeout(5):
        await internet.site.closed.wait()


async def test_the_limit_itself_is_allowed(internet: World):
    internet.site.answers["/"] = answer(bytes(LIMIT))
    internet.site.answers["/more"] = answer(bytes(LIMIT + 1))
    assert len((await _fetch(internet)).content) == LIMIT
    assert "too large" in (await _refused(internet, f"{URL}more")).message


@pytest.mark.parametrize("length", ["8", "1000000000", "-1", "x", "7, 8"])
async def test_a_length_that_is_not_the_bodys_is_refused(internet: World, length: str):
    internet.site.answers["/"] = answer(b"content", content_length=length)
    await _refused(internet)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\x00\xff" * 100,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused(internet: World, reply: bytes):
    internet.site.answers["/"] = reply
    await _refused(internet)


def _held(beginning: bytes = b"") -> Conversation:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        # Ends when the client has closed the connection.
        await reader.read()

    return reply


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"HTTP/1.1 ",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\nabc",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_a_server_that_stops_is_left_when_time_is_up(internet: World, beginning: bytes):
    internet.site.answers["/"] = _held(beginning)
    await _refused(internet, total_seconds=0.2)
    async with asyncio.timeout(5):
        await internet.site.closed.wait()


async def test_a_resolver_that_never_answers_is_left_when_time_is_up(internet: World):
    class Silent:
        async def __call__(self, host: str, port: int) -> list[str]:
            return await asyncio.get_running_loop().create_future()

    internet.names = Silent()  # type: ignore[assignment]
    await _refused(internet, total_seconds=0.05)


async def test_cancelling_closes_the_connection(internet: World):
    internet.site.answers["/"] = _held()
    fetching = asyncio.ensure_future(_fetch(internet))
    await internet.site.asked.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    async with asyncio.timeout(5):
        await internet.site.closed.wait()


async def test_what_lies_behind_a_url_cannot_be_told_from_its_refusal(internet: World):
    """A refused address, an unknown name, a closed port, silence and a 404 are the same error."""

    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    internet.site.answers["/silent"] = _held()
    bodies = {
        (await _refused(internet, url, total_seconds=0.2)).body()
        for url in ("http://10.0.0.1/", "http://intranet.example/", f"{URL}silent", f"{URL}404")
    }
    internet.site.port = 1
    bodies.add((await _refused(internet)).body())
    internet.names = unknown  # type: ignore[assignment]
    bodies.add((await _refused(internet)).body())
    assert bodies == {
        b'{"error": {"message": "The URL could not be fetched: it must be public and answer in '
        b'time.", "type": "invalid_request_error", "param": "image"}}'
    }


async def test_a_named_host_may_be_private(internet: World):
    internet.names.known["minio.storage.svc"] = [["10.1.2.3"]]
    internet.canary.answers["/bucket/key"] = answer(b"from the cluster")
    fetcher = internet.fetcher(allowed_hosts=["minio.storage.svc:9000"])
    fetched = await fetcher.fetch(
        "http://minio.storage.svc:9000/bucket/key", org_id=ORG, max_bytes=LIMIT, accept=ANY
    )
    assert fetched.content == b"from the cluster"
    assert internet.network.connected == [("10.1.2.3", 9000)]
    assert b"host: minio.storage.svc:9000\r\n" in internet.canary.requests[0].lower()


async def test_a_named_host_does_not_open_others_at_its_address(internet: World):
    internet.names.known["minio.storage.svc"] = [["10.1.2.3"]]
    internet.names.known["other.storage.svc"] = [["10.1.2.3"]]
    fetcher = internet.fetcher(allowed_hosts=["*", "minio.storage.svc"])
    for url in ("http://other.storage.svc/", "http://10.1.2.3/"):
        with pytest.raises(ApiError):
            await fetcher.fetch(url, org_id=ORG, max_bytes=LIMIT, accept=ANY)
    assert internet.network.connected == []


async def test_a_data_url_needs_no_network(internet: World):
    text = base64.b64encode(b"inline").decode()
    assert await _fetch(internet, f"data:image/gif;base64,{text}") == Fetched(
        b"inline", "image/gif"
    )
    assert internet.names.asked == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "data:image/gif,x",
            "Invalid URL: a data URL must have the form data:<type>;base64,<content>.",
        ),
        (
            "data:text/html;base64,AAAA",
            "The content must be of type image/*, text/plain, application/octet-stream.",
        ),
        (
            f"data:image/gif;base64,{'A' * 140_000}",
            "The content is too large: at most 100000 bytes are accepted.",
        ),
        ("ftp://site.example/", "Invalid URL: the URL must begin with https:// or http://."),
    ],
)
async def test_what_is_wrong_with_the_text_is_told(internet: World, url: str, message: str):
    assert (await _refused(internet, url)).message == message


class Door:
    """A site that answers when it is opened, and tells when so many have come."""

    def __init__(self, internet: World, many: int) -> None:
        self._internet = internet
        self._many = many
        self.came, self.open = asyncio.Event(), asyncio.Event()
        internet.site.answers["/"] = self._reply

    async def _reply(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._internet.site.requests) == self._many:
            self.came.set()
        await self.open.wait()
        writer.write(answer(b"late"))


async def test_fetches_beyond_the_limit_wait_for_their_turn(internet: World):
    door = Door(internet, 2)
    fetcher = internet.fetcher(concurrent=2)
    fetches = [
        asyncio.ensure_future(
            fetcher.fetch(URL, org_id=f"org_{number}", max_bytes=LIMIT, accept=ANY)
        )
        for number in range(5)
    ]
    await door.came.wait()
    assert len(internet.network.connected) == 2
    door.open.set()
    assert [one.content for one in await asyncio.gather(*fetches)] == [b"late"] * 5


async def test_one_organisation_has_a_quarter_of_the_slots(internet: World):
    door = Door(internet, 3)
    fetcher = internet.fetcher(concurrent=8)
    orgs = ["slow", "slow", "slow", "slow", "other"]
    fetches = [
        asyncio.ensure_future(fetcher.fetch(URL, org_id=org, max_bytes=LIMIT, accept=ANY))
        for org in orgs
    ]
    await door.came.wait()
    assert len(internet.network.connected) == 3
    door.open.set()
    assert [one.content for one in await asyncio.gather(*fetches)] == [b"late"] * 5


async def test_content_is_counted_as_it_comes_and_the_count_may_end_it(internet: World):
    internet.site.answers["/"] = _endless
    counted: list[int] = []

    def count(pieces: int) -> None:
        counted.append(pieces)
        if sum(counted) > 50_000:
            raise invalid_request("enough")

    with pytest.raises(ApiError, match="enough"):
        await internet.fetcher().fetch(URL, org_id=ORG, max_bytes=LIMIT, accept=ANY, count=count)
    assert 50_000 < sum(counted) < LIMIT
    async with asyncio.timeout(5):
        await internet.site.closed.wait()


async def test_a_turn_that_never_comes_is_no_fault_of_the_url(internet: World):
    fetcher = internet.fetcher(concurrent=0, total_seconds=0.05)
    with pytest.raises(ApiError) as caught:
        await fetcher.fetch(URL, org_id=ORG, max_bytes=LIMIT, accept=ANY)
    assert (caught.value.status, caught.value.headers) == (503, {"retry-after": "1"})


async def test_many_fetches_at_once_do_not_mix(internet: World):
    for number in range(100):
        internet.site.answers[f"/{number}"] = answer(b"%d" % number)
    fetcher = internet.fetcher()
    fetched = await asyncio.gather(
        *(
            fetcher.fetch(f"{URL}{number}", org_id=ORG, max_bytes=9, accept=ANY)
            for number in range(100)
        )
    )
    assert [int(one.content) for one in fetched] == list(range(100))
