"""The images of a request: fetched, proved to be images of a bounded size, and written out inline.

What a sender calls its content is not believed; Pillow tells PNG, JPEG, WebP and GIF apart, and
refuses the rest. The size in the header is checked before a pixel is decoded, and few images are
decoded at once. A request has a part of a budget of bytes, the most that its images may come to,
before any is fetched. Engines get `data:` URLs only.

**Source:** GroqCloud's vision guide for the default limits (20 MB a URL, 4 MB in base64,
33 megapixels, 5 images).
"""

import asyncio
import base64
import io
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from app.engine.base import ModelCard
from app.errors import invalid_request
from app.fetch.data_urls import is_data_url
from app.fetch.fetcher import Fetcher
from app.shares import SHARE, Shares

# What an image's server may call it: buckets often keep no type with an object.
ACCEPT = ("image/*", "application/octet-stream", "binary/octet-stream")
DECODING_THREADS = 2

_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    # A JPEG with more pictures behind the first, as many cameras write them.
    "MPO": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
}
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
# What Pillow's readers raise for damaged files; a broken chunk of a PNG is a SyntaxError.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
)
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class ImageRefused(Exception):
    """The bytes are no image that a model may be shown; the message is for the caller."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Bounds of one request's images. `data_bytes` counts a `data:` URL's decoded content."""

    count: int = 5
    url_bytes: int = 20 << 20
    data_bytes: int = 4 << 20
    total_bytes: int = 32 << 20
    pixels: int = 33_000_000


@dataclass(frozen=True, slots=True)
class _Image:
    """An image that a message names, and where; errors name the place."""

    url: str
    param: str


class _Tally:
    """The bytes that a request's images have so far."""

    def __init__(self, images: Sequence[_Image], most: int) -> None:
        self._params = [image.param for image in images]
        self._counts = [0] * len(images)
        self._most = most

    def add(self, number: int, count: int) -> None:
        """Count bytes of an image. **Raises:** ApiError 400, when all have too many."""
        self._counts[number] += count
        if sum(self._counts) > self._most:
            last = max(place for place, bytes_ in enumerate(self._counts) if bytes_)
            message = f"A request's images may have at most {self._most} bytes in all."
            raise invalid_request(message, param=self._params[last])


def image_budget(intake_bytes: int, limits: ImageLimits, *, wait_seconds: float) -> Shares:
    """Return the bytes that all requests share; one organisation has a quarter at most.

    A request that is as large as may be gets through, whatever a quarter is.
    """
    return Shares(
        intake_bytes,
        max(intake_bytes // SHARE, limits.total_bytes),
        wait_seconds=wait_seconds,
        refusal="Too many images are being fetched at present.",
    )


class Images:
    """Takes the images of conversations in, as far as `budget` has bytes. Ended by `close`."""

    def __init__(self, fetcher: Fetcher, limits: ImageLimits, budget: Shares) -> None:
        self._fetcher = fetcher
        self._limits = limits
        self._budget = budget
        self._threads = ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="images")

    async def taken_in(
        self,
        messages: Sequence[dict[str, Any]],
        card: ModelCard,
        *,
        org_id: str,
        field: str = "messages",
    ) -> list[dict[str, Any]]:
        """Return the messages with each image in a checked `data:` URL; all are fetched at once.

        Messages are OpenAI-shaped; `field` is where the caller wrote them.
        **Raises:** ApiError 400 naming the part; 503, when too much is fetched already.
        """
        images = list(_images(messages, field))
        if not images:
            return list(messages)
        self._check_wanted(images, card)
        async with self._budget.hold(org_id, self._most_bytes(images)):
            contents = await self._fetch_all(images, org_id)
            urls = [
                await self._inline(image, content)
                for image, content in zip(images, contents, strict=True)
            ]
        inline = iter(urls)
        return [_with_urls(message, inline) for message in messages]

    def close(self) -> None:
        """Give the threads back."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check_wanted(self, images: Sequence[_Image], card: ModelCard) -> None:
        if not card.takes_images:
            message = "image input is not supported with this model"
            raise invalid_request(message, param=images[0].param)
        most = self._limits.count
        if len(images) > most:
            message = f"A request may hold at most {most} images."
            raise invalid_request(message, param=images[most].param)

    def _most_bytes(self, images: Sequence[_Image]) -> int:
        """Return what the images may come to; a `data:` URL tells by its length."""
        largest = (
            min(self._largest(image), len(image.url) * 3 // 4)
            if is_data_url(image.url)
            else self._largest(image)
            for image in images
        )
        return min(sum(largest), self._limits.total_bytes)

    def _largest(self, image: _Image) -> int:
        return self._limits.data_bytes if is_data_url(image.url) else self._limits.url_bytes

    async def _fetch_all(self, images: Sequence[_Image], org_id: str) -> list[bytes]:
        tally = _Tally(images, self._limits.total_bytes)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._fetch(image, org_id, partial(tally.add, number)))
                    for number, image in enumerate(images)
                ]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _fetch(self, image: _Image, org_id: str, count: Callable[[int], None]) -> bytes:
        fetched = await self._fetcher.fetch(
            image.url,
            org_id=org_id,
            max_bytes=self._largest(image),
            accept=ACCEPT,
            param=image.param,
            count=count,
        )
        return fetched.content

    async def _inline(self, image: _Image, content: bytes) -> str:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._threads, inline_image, content, self._limits.pixels
            )
        except ImageRefused as error:
            raise invalid_request(str(error), param=image.param) from error


def _images(messages: Sequence[dict[str, Any]], field: str) -> Iterator[_Image]:
    for number, message in enumerate(messages):
        for place, part in enumerate(_parts(message)):
            if part["type"] == "image_url":
                param = f"{field}.{number}.content.{place}.image_url"
                yield _Image(part["image_url"]["url"], param)


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _with_urls(message: dict[str, Any], urls: Iterator[str]) -> dict[str, Any]:
    if not _parts(message):
        return message
    content = [
        {"type": "image_url", "image_url": {"url": next(urls)}}
        if part["type"] == "image_url"
        else part
        for part in _parts(message)
    ]
    return {**message, "content": content}


def inline_image(content: bytes, max_pixels: int) -> str:
    """Return an image as a `data:` URL; blocks while it is decoded once, to know that it can be.

    **Raises:** ImageRefused.
    """
    media_type = image_type(content, max_pixels)
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def image_type(content: bytes, max_pixels: int) -> str:
    """Return the media type that the bytes prove. Blocks. **Raises:** ImageRefused."""
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise _too_many(max_pixels)
            # Lets a JPEG be decoded at an eighth of its size; others do not know this.
            image.draft(image.mode, (1, 1))
            image.load()
            return _TYPES[image.format or ""]
    except _BOMBS as error:
        raise _too_many(max_pixels) from error
    except _DAMAGED as error:
        raise ImageRefused("The content is not a valid PNG, JPEG, WebP or GIF image.") from error


def _too_many(max_pixels: int) -> ImageRefused:
    return ImageRefused(f"The image is too large: at most {max_pixels} pixels are accepted.")
