"""Images are fetched, proved and written out inline before an engine sees them."""

import asyncio
import base64
import io
import random
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.catalog import Catalog, ModelSpec
from app.engine.base import ChatEngine, ChatJob, PromptRefused, Run, Sampling
from app.engine.factory import start_engines
from app.errors import ApiError
from app.inference.images import (
    ImageLimits,
    ImageRefused,
    image_type,
    inline_image,
)
from tests.app.fetch.world import ORG, SITE, Site, answer
from tests.app.inference.gallery import CARD, Gallery, ask_about, data_url, paint, shown_urls
from tests.fixtures import tiny_vision
from tests.fixtures.engines import import_vllm

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
PIXELS = ImageLimits().pixels


@pytest.mark.parametrize("format", FORMATS)
async def test_an_images_type_is_what_its_bytes_say(gallery: Gallery, format: str):
    content = paint(format=format)
    right = data_url(content, FORMATS[format])
    for claimed in ("image/png", "image/bmp", "application/octet-stream"):
        assert await gallery.taken_in(data_url(content, claimed)) == [right]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1"])
def test_every_kind_of_pixel_is_taken(mode: str):
    assert image_type(paint(mode=mode), PIXELS) == "image/png"


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
    pictures = [paint(color) for color in ("red", "green", "blue")]
    for number, picture in enumerate(pictures):
        gallery.internet.site.answers[f"/{number}"] = answer(picture, content_type="image/png")
    urls = [f"http://{SITE}/{number}" for number in range(3)]
    inline = [data_url(picture) for picture in pictures]
    assert await gallery.taken_in(urls[0], inline[2], urls[1], urls[2]) == [
        inline[0],
        inline[2],
        inline[1],
        inline[2],
    ]
    assert len(gallery.internet.site.requests) == 3


@pytest.mark.parametrize("media_type", ["application/octet-stream", "binary/octet-stream"])
async def test_a_bucket_that_keeps_no_types_will_do(gallery: Gallery, media_type: str):
    gallery.internet.site.answers["/a"] = answer(paint(), content_type=media_type)
    assert await gallery.taken_in(f"http://{SITE}/a") == [data_url(paint())]


async def test_nothing_else_of_a_conversation_changes(gallery: Gallery):
    text = [{"role": "user", "content": "plain"}, {"role": "assistant", "content": None}]
    assert (
        await gallery.images().taken_in(text, replace(CARD, takes_images=False), org_id=ORG) == text
    )
    asking = ask_about(data_url(paint(), "image/gif"))
    taken = await gallery.images().taken_in([*asking, *text], CARD, org_id=ORG)
    assert [*taken[:1], *taken[2:]] == [*asking[:1], *text]
    assert taken[1]["content"][0] == asking[1]["content"][0]
    assert shown_urls(asking) == [data_url(paint(), "image/gif")]


async def test_a_part_that_is_at_fault_is_named(gallery: Gallery):
    good = data_url(paint())
    error = await gallery.refused(good, good, data_url(b"no image"))
    assert error.param == "messages.1.content.3.image_url"
    assert error.message == "The content is not a valid PNG, JPEG, WebP or GIF image."
    error = await gallery.refused(good, "http://127.0.0.1/")
    assert error.param == "messages.1.content.2.image_url"
    assert "could not be fetched" in error.message
    assert gallery.internet.canary.connections == 0


async def test_the_field_is_called_as_the_resource_calls_it(gallery: Gallery):
    with pytest.raises(ApiError) as caught:
        await gallery.images().taken_in(ask_about("data:"), CARD, org_id=ORG, field="input")
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
    picture = paint()
    gallery.internet.site.answers["/a"] = answer(picture, content_type="image/png")
    url, inline, size = f"http://{SITE}/a", data_url(picture), len(picture)
    assert await gallery.taken_in(url, inline, url_bytes=size, data_bytes=size) == [inline] * 2
    assert "too large" in (await gallery.refused(url, url_bytes=size - 1)).message
    assert "too large" in (await gallery.refused(inline, data_bytes=size - 1)).message


async def test_all_images_together_have_a_limit(gallery: Gallery):
    inline, size = data_url(paint()), len(paint())
    assert await gallery.taken_in(inline, inline, total_bytes=2 * size) == [inline] * 2
    error = await gallery.refused(inline, inline, total_bytes=2 * size - 1)
    assert error.message == f"A request's images may have at most {2 * size - 1} bytes in all."
    assert error.param == "messages.1.content.2.image_url"


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
    content = paint(format="GIF", size=(100, 80))
    assert image_type(content, 8000) == "image/gif"
    with pytest.raises(ImageRefused, match="at most 7999 pixels"):
        image_type(content, 7999)


@pytest.mark.parametrize("format", ["BMP", "TIFF", "PPM", "ICO", "TGA", "PDF", "EPS", "PCX"])
def test_other_formats_are_refused(format: str):
    with pytest.raises(ImageRefused, match="not a valid PNG, JPEG, WebP or GIF"):
        image_type(paint(format=format), PIXELS)


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
    content = bytearray(paint(format=format))
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
        yield engines.running["tiny-vision"]
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
        picture = paint(color, "JPEG", (120, 50))
        gallery.internet.site.answers[f"/{color}"] = answer(picture, content_type="image/jpeg")

    async def ask(number: int, *shown: str) -> str:
        asking = ask_about(*(f"http://{SITE}/{color}" for color in shown))
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
    url = data_url(paint())
    counts = [(await seeing.prepare(_job(ask_about(*[url] * n)))).tokens for n in range(3)]
    each = tiny_vision.IMAGE_TOKENS + 3
    assert [count - counts[0] for count in counts] == [0, each, 2 * each]


@pytest.mark.engine
async def test_text_cannot_say_where_an_image_stands(seeing: ChatEngine):
    with pytest.raises(PromptRefused):
        await seeing.prepare(_job(ask_about(data_url(paint()), text=tiny_vision.IMAGE_TOKEN)))


@pytest.mark.engine
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_engine_itself_fetches_nothing(seeing: ChatEngine, scheme: str):
    canary = Site()
    async with canary.running():
        with pytest.raises(PromptRefused):
            await seeing.prepare(_job(ask_about(f"{scheme}://127.0.0.1:{canary.port}/a.png")))
    assert canary.connections == 0


@pytest.mark.engine
async def test_a_model_that_sees_says_so_on_its_card(seeing: ChatEngine):
    assert seeing.card.takes_images
