"""What images may take of the memory while they are fetched and checked."""

import asyncio

import pytest

from app.errors import ApiError
from app.inference.images import ImageLimits, image_budget
from app.shares import Shares
from tests.app.fetch.world import ORG, SITE, Site
from tests.app.inference.gallery import Gallery, data_url, paint


class SlowSite:
    """Sends so many bytes of an image, then nothing more until the client has gone."""

    def __init__(self, site: Site, size: int) -> None:
        self.came, self.gone = asyncio.Event(), asyncio.Event()
        self._size = size
        site.answers["/slow"] = self._reply

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n"
        writer.write(head.encode() + bytes(self._size))
        self.came.set()
        await reader.read()
        self.gone.set()


SLOW = f"http://{SITE}/slow"


async def test_the_fetches_end_when_what_has_come_is_too_much(gallery: Gallery):
    """None of them is down yet: what each has so far is counted."""
    slow = SlowSite(gallery.internet.site, 600)
    async with asyncio.timeout(5):
        error = await gallery.refused(SLOW, SLOW, total_bytes=1000)
        await slow.gone.wait()
    assert error.message == "A request's images may have at most 1000 bytes in all."
    assert error.param == "messages.1.content.2.image_url"


@pytest.mark.parametrize(
    ("count", "held"), [(1, 700), (2, 1000)], ids=["one image's limit", "the request's limit"]
)
async def test_a_request_holds_the_most_that_it_may_come_to_before_it_fetches(
    gallery: Gallery, count: int, held: int
):
    slow = SlowSite(gallery.internet.site, 1)
    gallery.budget = Shares(1000, 1000, wait_seconds=5.0, refusal="")
    taking = asyncio.ensure_future(
        gallery.taken_in(*[SLOW] * count, url_bytes=700, total_bytes=1000)
    )
    await slow.came.wait()
    assert gallery.budget.held == {ORG: held}
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    assert gallery.budget.held == {}


async def test_an_inline_image_holds_no_more_than_it_has(gallery: Gallery):
    inline = data_url(paint())
    gallery.budget = Shares(len(inline), len(inline), wait_seconds=0.05, refusal="")
    assert await gallery.taken_in(inline) == [inline]
    assert gallery.budget.held == {}


async def test_a_request_that_finds_no_room_is_told_to_come_again(gallery: Gallery):
    bounds = ImageLimits(url_bytes=700, total_bytes=1000)
    gallery.budget = image_budget(1000, bounds, wait_seconds=0.05)
    async with gallery.budget.hold("another", 301):
        with pytest.raises(ApiError) as caught:
            await gallery.taken_in(SLOW, url_bytes=700, total_bytes=1000)
    assert (caught.value.status, caught.value.headers) == (503, {"retry-after": "1"})
    assert gallery.internet.site.connections == 0


async def test_what_a_refused_request_held_comes_back(gallery: Gallery):
    gallery.budget = image_budget(32 << 20, ImageLimits(), wait_seconds=0.05)
    await gallery.refused(data_url(b"no image"))
    await gallery.refused(f"http://{SITE}/missing")
    assert gallery.budget.held == {}


async def test_an_organisation_has_a_quarter_of_the_budget_or_one_request():
    for intake, most in ((400, 100), (200, 60)):
        budget = image_budget(intake, ImageLimits(total_bytes=60), wait_seconds=0.0)
        async with budget.hold(ORG, most):
            with pytest.raises(ApiError):
                async with budget.hold(ORG, 1):
                    pass
            async with budget.hold("another", most):
                assert budget.held == {ORG: most, "another": most}
