"""Settings of the other pools of one deployment: where each is, and which models it serves.

What several pools are said to serve cannot be told apart by a request, and is refused.
"""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_settings import NoDecode

from app.settings.group import Group

PLACE = re.compile(
    r"(?P<root>https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?)/?"
)
BaseModelId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$", strict=True)
]


def _place(url: str) -> str:
    """Return the URL of a server's root without a slash at its end."""
    place = PLACE.fullmatch(url)
    if place is None or int(place["port"] or 1) not in range(1, 1 << 16):
        raise ValueError("a pool's url must be like http://host:port, without path and user")
    return place["root"]


class PoolSettings(Group):
    url: Annotated[str, AfterValidator(_place)] = Field(
        description="Root of the pool's servers, `http://host:port`."
    )
    models: tuple[BaseModelId, ...] = Field(
        min_length=1, description="Ids of the base models in the pool's catalog."
    )


def _from_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('set it to JSON: [{"url": "http://host:port", "models": [...]}]') from None


def _without_doubles(pools: Sequence[PoolSettings]) -> Sequence[PoolSettings]:
    models = [model for pool in pools for model in pool.models]
    if doubled := sorted({model for model in models if models.count(model) > 1}):
        raise ValueError(f"the model {doubled[0]} is listed twice: one pool serves it")
    return pools


Pools = Annotated[
    tuple[PoolSettings, ...],
    NoDecode,
    BeforeValidator(_from_json),
    AfterValidator(_without_doubles),
]
