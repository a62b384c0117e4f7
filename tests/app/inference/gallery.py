"""Pictures, conversations that hold them, and the intake under test with its small internet."""

import base64
import io
from dataclasses import dataclass, replace
from typing import Any

import pytest
from PIL import Image

from app.engine.base import ModelCard
from app.errors import ApiError
from app.inference.images import ImageLimits, Images, image_budget
from app.shares import Shares
from tests.app.fetch.world import ORG, World

CARD = ModelCard("vision", "system", 1024, 512, "fp", takes_images=True)


def paint(
    color: str = "red", format: str = "PNG", size: tuple[int, int] = (40, 30), mode: str = "RGB"
) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color if mode == "RGB" else None).save(buffer, format)
    return buffer.getvalue()


def data_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def ask_about(*urls: str, text: str = "What is this?") -> list[dict[str, Any]]:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    system = {"role": "system", "content": "Look well."}
    return [system, {"role": "user", "content": [{"type": "text", "text": text}, *images]}]


def shown_urls(messages: list[dict[str, Any]]) -> list[str]:
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
        return shown_urls(await self.images(**limits).taken_in(ask_about(*urls), CARD, org_id=ORG))

    async def refused(self, *urls: str, card: ModelCard = CARD, **limits: int) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await self.images(**limits).taken_in(ask_about(*urls), card, org_id=ORG)
        assert caught.value.status == 400
        return caught.value
