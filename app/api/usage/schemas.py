"""Usage on the wire. It is ours: GroqCloud has no such call, and OpenAI's takes keys of its own."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field

from app.api.usage.cursor import group_id
from app.pagination import Listed, Page
from app.usage.repository import Dimension, Group, Selection

MAX_PAGE = 1000
DEFAULT_PAGE = 100


class UsageObject(Listed):
    """What all requests of one group have used; null is what it is not grouped by.

    Where it is grouped by them, `adapter` null is the base model itself, and `api_key_id` null are
    lines of batches from before their keys were kept.
    """

    object: Literal["usage"] = "usage"
    day: Annotated[date | None, Field(description="UTC, on which the requests ended.")]
    model: Annotated[str | None, Field(description="The base model.")]
    adapter: Annotated[str | None, Field(description="The immutable id of an adapter version.")]
    api_key_id: str | None
    batch: Annotated[bool | None, Field(description="Whether these are lines of batches.")]
    requests: int
    prompt_tokens: int
    cached_tokens: Annotated[int, Field(description="Those of the prompt that were cached.")]
    completion_tokens: int
    input_characters: Annotated[int, Field(description="Of texts that were spoken.")]
    input_audio_seconds: float
    output_audio_seconds: float

    @classmethod
    def of_group(cls, group_by: Sequence[Dimension], group: Group) -> Self:
        """Write a group."""
        values = dict(zip(group_by, group.values, strict=True))
        amounts = group.amounts
        return cls.model_validate(
            {
                "id": group_id(group_by, group.values),
                "day": values.get("day"),
                "model": values.get("model"),
                "adapter": values.get("adapter") or None,
                "api_key_id": values.get("api_key_id") or None,
                "batch": values.get("batch"),
                **amounts._asdict(),
                "input_audio_seconds": amounts.input_audio_ms / 1000,
                "output_audio_seconds": amounts.output_audio_ms / 1000,
            }
        )


class UsageList(Page[UsageObject]):
    """One page of groups, and what it was asked for."""

    start_date: date
    end_date: Annotated[date, Field(description="The last day.")]
    group_by: list[Dimension]

    @classmethod
    def of_page(
        cls, groups: Sequence[UsageObject], selection: Selection, *, has_more: bool
    ) -> Self:
        """Wrap one page's groups, which are in order."""
        page = Page[UsageObject].of(list(groups), has_more=has_more)
        return cls(
            **dict(page),
            start_date=selection.start,
            end_date=selection.end,
            group_by=list(selection.group_by),
        )
