"""Lists in pages: cursor, order and the envelope that both official SDKs know how to follow.

An id names its row's place in time, so ids are the cursors. A cursor that the filtered list does
not hold is refused, whether it never existed, was deleted or belongs to somebody else.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.errors import invalid_request

Order = Literal["asc", "desc"]
ID = re.compile(r"[a-z]{2,8}_[0-9a-z]{26}")


class Listed(BaseModel):
    """Any object that lists hold."""

    id: str


Item = TypeVar("Item", bound=Listed)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list is wanted; `after` is the id that ended the page before."""

    limit: int
    after: str | None = None
    order: Order = "desc"


class Page(BaseModel, Generic[Item]):
    """One page. `has_more` is always sent: without it the OpenAI SDK would ask for ever."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool
    first_id: str | None
    last_id: str | None

    @classmethod
    def of(cls, items: list[Item], *, has_more: bool) -> Self:
        """Wrap one page's items, which are in order."""
        first_id, last_id = (items[0].id, items[-1].id) if items else (None, None)
        return cls(data=items, has_more=has_more, first_id=first_id, last_id=last_id)


async def fetch_page(
    session: AsyncSession,
    statement: Select[*tuple[Any, ...]],
    id_column: InstrumentedAttribute[str],
    page: PageRequest,
) -> tuple[Sequence[Any], bool]:
    """Return the page's rows and whether more follow.

    `statement` is already limited to what the caller may see. **Raises:** ApiError 400 with param
    `after`.
    """
    if page.after is not None:
        # An id that is gone, or another's, still says where to go on: ids sort by time.
        if not ID.fullmatch(page.after):
            raise invalid_request("`after` is not the id of an object", param="after")
        beyond = id_column > page.after if page.order == "asc" else id_column < page.after
        statement = statement.where(beyond)
    ordered = statement.order_by(id_column.asc() if page.order == "asc" else id_column.desc())
    rows = (await session.execute(ordered.limit(page.limit + 1))).all()
    return rows[: page.limit], len(rows) > page.limit
