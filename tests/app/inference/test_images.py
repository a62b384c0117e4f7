"""Images are fetched, proved and written out inline before an engine sees them."""

import asyncio
import base64
import io
import random
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.catalog import Catalog, ModelSpec
from app.engine.base import ChatEngine, ChatJob, ModelCard, PromptRefused, Run, Sampling
from app.engine.factory import start_engines
from app.errors import ApiError
from app.fetch.shares import Shares
from app.inference.images import (
    ImageLimits,
    ImageRefused,
    Images,
    image_budget,
    image_type,
    inline_image,
)
from tests.app.fetch.world import ORG, SITE, Site, World, answer, world
from tests.fixtures import tiny_vision
from tests.fixtures.engines import import_vllm

CARD = ModelCard("vision", "system", 1024, 512, "fp", takes_images=True)
FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
PIXELS = ImageLimits().pixels


def _picture(
    color: str = "red", format: str = "PNG", size: tuple[int, int] = (40, 30), mode: str = "RGB"
) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color if mode == "RGB" else None).save(buffer, format)
    return buffer.getvalue()


def _data_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _asking(*urls: str, text: str = "What is this?") -> list[dict[str, Any]]:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    system = {"role": "system", "content": "Look well."}
    return [system, {"role": "user", "content": [{"type": "text", "text": text}, *images]}]


def _urls(messages: list[dict[str, Any]]) -> list[str]:
    return [part["image_url"]["url"] for part in messages[1]["content"][1:]]


@dataclass(slots=True)
class Gallery:
    """Images under test, and the small internet that they come from."""

    internet: World
    made: list[Images]
    budget: Shares | None = None
    """What the images made next share; else each has the default."""

    def images(self, **limits: int) -> Images:
        bounds = replace(ImageLimits(), **limits)
        budget = self.budget or image_budget(256 << 20, bounds, wait_seconds=10.0)
        images = Images(self.internet.fetcher(), bounds, budget)
        self.made.append(images)
        return images

    async def taken_in(self, *urls: str, **limits: int) -> list[str]:
        return _urls(await self.images(**limits).taken_in(_asking(*urls), CARD, org_id=ORG))

    async def refused(self, *urls: str, card: ModelCard = CARD, **limits: int) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await self.images(**limits).taken_in(_asking(*urls), card, org_id=ORG)
        assert caught.value.status == 400
        return caught.value


@pytest_asyncio.fixture
async def gallery() -> AsyncIterator[Gallery]:
    async with world() as internet:
        gallery = Gallery(internet, [])
        yield gallery
        for images in gallery.made:
            images.close()


@pytest.mark.parametrize("format", FORMATS)
async def test_an_images_type_is_what_its_bytes_say(gallery: Gallery, format: str):
    content = _picture(format=format)
    right = _data_url(content, FORMATS[format])
    for claimed in ("image/png", "image/bmp", "application/octet-stream"):
        assert await gallery.taken_in(_data_url(content, claimed)) == [right]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1"])
def test_every_kind_of_pixel_is_taken(mode: str):
    assert image_type(_picture(mode=mode), PIXELS) == "image/png"


def test_the_jpeg_of_a_camera_with_a_second_picture_is_a_jpeg():
    buffer = io.BytesIO()
    first, second = (Image.new("RGB", (32, 32), color) for color in ("red", "blue"))
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    assert image_type(buffer.getvalue(), PIXELS) == "image/jpeg"


def test_an_animation_is_an_image():
    buffer = io.BytesIO()
    first, second = (Image.new("RGB", (32, 32), color) for color in ("red", "blue"))
    first.save(buffer, "GIF", save_all=True, append_images=[second])
    assert image_type(buffer.getvalue(), PIXELS) == "image/gif"


async def test_images_are_fetched_by_us_and_keep_their_order(gallery: Gallery):
    pictures = [_picture(color) for color in ("red", "green", "blue")]
    for number, picture in enumerate(pictures):
        gallery.internet.site.answers[f"/{number}"] = answer(picture, content_type="image/png")
    urls = [f"http://{SITE}/{number}" for number in range(3)]
    inline = [_data_url(picture) for picture in pictures]
    assert await gallery.taken_in(urls[0], inline[2], urls[1], urls[2]) == [
        inline[0],
        inline[2],
        inline[1],
        inline[2],
    ]
    assert len(gallery.internet.site.requests) == 3


@pytest.mark.parametrize("media_type", ["application/octet-stream", "binary/octet-stream"])
async def test_a_bucket_that_keeps_no_types_will_do(gallery: Gallery, media_type: str):
    gallery.internet.site.answers["/a"] = answer(_picture(), content_type=media_type)
    assert await gallery.taken_in(f"http://{SITE}/a") == [_data_url(_picture())]


async def test_nothing_else_of_a_conversation_changes(gallery: Gallery):
    text = [{"role": "user", "content": "plain"}, {"role": "assistant", "content": None}]
    assert (
        await gallery.images().taken_in(text, replace(CARD, takes_images=False), org_id=ORG) == text
    )
    asking = _asking(_data_url(_picture(), "image/gif"))
    taken = await gallery.images().taken_in([*asking, *text], CARD, org_id=ORG)
    assert [*taken[:1], *taken[2:]] == [*asking[:1], *text]
    assert taken[1]["content"][0] == asking[1]["content"][0]
    assert _urls(asking) == [_data_url(_picture(), "image/gif")]


async def test_a_part_that_is_at_fault_is_named(gallery: Gallery):
    good = _data_url(_picture())
    error = await gallery.refused(good, good, _data_url(b"no image"))
    assert error.param == "messages.1.content.3.image_url"
    assert error.message == "The content is not a valid PNG, JPEG, WebP or GIF image."
    error = await gallery.refused(good, "http://127.0.0.1/")
    assert error.param == "messages.1.content.2.image_url"
    assert "could not be fetched" in error.message
    assert gallery.internet.canary.connections == 0


async def test_the_field_is_called_as_the_resource_calls_it(gallery: Gallery):
    with pytest.raises(ApiError) as caught:
        await gallery.images().taken_in(_asking("data:"), CARD, org_id=ORG, field="input")
    assert caught.value.param == "input.1.content.1.image_url"


async def test_a_model_that_sees_nothing_takes_no_image(gallery: Gallery):
    error = await gallery.refused(f"http://{SITE}/", card=replace(CARD, takes_images=False))
    assert error.message == "image input is not supported with this model"
    assert error.param == "messages.1.content.1.image_url"
    assert gallery.internet.site.connections == 0


async def test_one_image_too_many_is_named_before_any_is_fetched(gallery: Gallery):
    error = await gallery.refused(*[f"http://{SITE}/"] * 6)
    assert (error.message, error.param) == (
        "A request may hold at most 5 images.",
        "messages.1.content.6.image_url",
    )
    assert gallery.internet.site.connections == 0


async def test_fetched_and_inline_images_have_limits_of_their_own(gallery: Gallery):
    picture = _picture()
    gallery.internet.site.answers["/a"] = answer(picture, content_type="image/png")
    url, inline, size = f"http://{SITE}/a", _data_url(picture), len(picture)
    assert await gallery.taken_in(url, inline, url_bytes=size, data_bytes=size) == [inline] * 2
    assert "too large" in (await gallery.refused(url, url_bytes=size - 1)).message
    assert "too large" in (await gallery.refused(inline, data_bytes=size - 1)).message


async def test_all_images_together_have_a_limit(gallery: Gallery):
    inline, size = _data_url(_picture()), len(_picture())
    assert await gallery.taken_in(inline, inline, total_bytes=2 * size) == [inline] * 2
    error = await gallery.refused(inline, inline, total_bytes=2 * size - 1)
    assert error.message == f"A request's images may have at most {2 * size - 1} bytes in all."
    assert error.param == "messages.1.content.2.image_url"


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
    inline = _data_url(_picture())
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
    await gallery.refused(_data_url(b"no image"))
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


def _png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(33_000_001, 1), (5745, 5745), (10_000, 10_000), (65_535,) * 2])
def test_a_header_that_claims_too_many_pixels_is_enough_to_refuse(size: tuple[int, int]):
    with pytest.raises(ImageRefused, match="at most 33000000 pixels"):
        image_type(_png_header(*size), PIXELS)


def test_the_largest_image_is_taken():
    content = _picture(format="GIF", size=(100, 80))
    assert image_type(content, 8000) == "image/gif"
    with pytest.raises(ImageRefused, match="at most 7999 pixels"):
        image_type(content, 7999)


@pytest.mark.parametrize("format", ["BMP", "TIFF", "PPM", "ICO", "TGA", "PDF", "EPS", "PCX"])
def test_other_formats_are_refused(format: str):
    with pytest.raises(ImageRefused, match="not a valid PNG, JPEG, WebP or GIF"):
        image_type(_picture(format=format), PIXELS)


@pytest.mark.parametrize("format", FORMATS)
def test_an_image_that_is_cut_off_is_refused(format: str):
    noise = random.Random(0).randbytes(3 * 64 * 64)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (64, 64), noise).save(buffer, format)
    with pytest.raises(ImageRefused):
        image_type(buffer.getvalue()[: len(buffer.getvalue()) // 2], PIXELS)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damage that it can live with.
@given(
    st.sampled_from(list(FORMATS)),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=6),
)
def test_a_damaged_image_is_taken_or_refused(format: str, damages: list[tuple[int, bytes]]):
    content = bytearray(_picture(format=format))
    for place, damage in damages:
        place %= len(content)
        content[place : place + len(damage)] = damage
    try:
        url = inline_image(bytes(content), PIXELS)
    except ImageRefused:
        return
    assert base64.b64decode(url.partition(",")[2]) == content


@pytest.mark.filterwarnings("ignore")
@given(st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"]), st.binary())
def test_bytes_that_begin_like_an_image_are_refused(start: bytes, rest: bytes):
    with pytest.raises(ImageRefused):
        image_type(start + rest, PIXELS)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def seeing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatEngine]:
    import_vllm()
    directory = tmp_path_factory.mktemp("models") / "tiny-vision"
    engines = await start_engines(Catalog(models=(_spec(tiny_vision.write_model(directory)),)))
    try:
        yield engines.chat["tiny-vision"]
    finally:
        await engines.close()


def _spec(directory: Path) -> ModelSpec:
    return ModelSpec(
        id="tiny-vision",
        task="chat",
        source=str(directory),
        context_window=tiny_vision.CONTEXT,
        max_completion_tokens=tiny_vision.CONTEXT,
        vllm={
            "dtype": "float32",
            "kv_cache_memory_bytes": 64 << 20,
            "max_num_seqs": 8,
            "limit_mm_per_prompt": {"image": 5},
            "mm_processor_cache_gb": 0.25,
        },
    )


def _job(messages: list[dict[str, Any]]) -> ChatJob:
    return ChatJob(messages, Sampling(temperature=0.0, max_tokens=16), "salt", stream=False)


async def _answered(engine: ChatEngine, messages: list[dict[str, Any]], id: str) -> str:
    prompt = await engine.prepare(_job(messages))
    return "".join([delta.text async for delta in engine.generate(prompt, Run(id))])


@pytest.mark.engine
async def test_a_model_answers_by_what_it_is_shown(seeing: ChatEngine, gallery: Gallery):
    colors = ("red", "green", "blue")
    for color in colors:
        picture = _picture(color, "JPEG", (120, 50))
        gallery.internet.site.answers[f"/{color}"] = answer(picture, content_type="image/jpeg")

    async def ask(number: int, *shown: str) -> str:
        asking = _asking(*(f"http://{SITE}/{color}" for color in shown))
        taken = await gallery.images().taken_in(asking, CARD, org_id=ORG)
        return await _answered(seeing, taken, f"look-{number}")

    orders = [(color,) for color in colors] + [("red", "blue"), ("blue", "red"), ()]
    first = await asyncio.gather(*(ask(n, *shown) for n, shown in enumerate(orders)))
    again = await asyncio.gather(*(ask(n + 9, *shown) for n, shown in enumerate(orders)))
    assert first == again
    assert len(set(first)) == len(orders)
    assert all(len(text) == 16 for text in first)


@pytest.mark.engine
async def test_an_image_counts_as_the_tokens_it_takes(seeing: ChatEngine):
    url = _data_url(_picture())
    counts = [(await seeing.prepare(_job(_asking(*[url] * n)))).tokens for n in range(3)]
    each = tiny_vision.IMAGE_TOKENS + 3
    assert [count - counts[0] for count in counts] == [0, each, 2 * each]


@pytest.mark.engine
async def test_text_cannot_say_where_an_image_stands(seeing: ChatEngine):
    with pytest.raises(PromptRefused):
        await seeing.prepare(_job(_asking(_data_url(_picture()), text=tiny_vision.IMAGE_TOKEN)))


@pytest.mark.engine
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_engine_itself_fetches_nothing(seeing: ChatEngine, scheme: str):
    canary = Site()
    async with canary.running():
        with pytest.raises(PromptRefused):
            await seeing.prepare(_job(_asking(f"{scheme}://127.0.0.1:{canary.port}/a.png")))
    assert canary.connections == 0


@pytest.mark.engine
async def test_a_model_that_sees_says_so_on_its_card(seeing: ChatEngine):
    assert seeing.card.takes_images
