"""What an organisation has used, added up by what it asks for."""

import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, cast

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.api.usage.cursor import values_of
from app.api.usage.schemas import UsageList, UsageObject
from app.errors import ApiError, invalid_request, shortened
from app.usage import repository
from app.usage.repository import DIMENSIONS, Dimension, Selection

MAX_DAYS = 92
DEFAULT_DAYS = 30
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Asked(NamedTuple):
    """What is asked for, as it was written. `group_by` None is by day."""

    start_date: str | None
    end_date: str | None
    group_by: Sequence[str] | None
    after: str | None
    limit: int


class UsageService:
    """Reads usage. `clock` counts Unix seconds."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._clock = clock

    async def list(self, org_id: str, asked: Asked) -> UsageList:
        """Return one page of groups, in the order of their values. **Raises:** ApiError 400."""
        start, end = self._days(asked.start_date, asked.end_date)
        group_by = _dimensions(asked.group_by)
        selection = Selection(org_id, start, end, group_by)
        after = None if asked.after is None else values_of(asked.after, group_by)
        async with self._sessions() as session:
            found = await repository.grouped(session, selection, after=after, limit=asked.limit + 1)
        return UsageList.of_page(
            [UsageObject.of_group(group_by, group) for group in found[: asked.limit]],
            selection,
            has_more=len(found) > asked.limit,
        )

    def _days(self, start_date: str | None, end_date: str | None) -> tuple[date, date]:
        end = self._today() if end_date is None else _date("end_date", end_date)
        if start_date is None:
            start = _earlier(end, DEFAULT_DAYS - 1)
        else:
            start = _date("start_date", start_date)
        if start > end:
            raise invalid_request("`start_date` is after `end_date`", param="start_date")
        days = (end - start).days + 1
        if days > MAX_DAYS:
            message = f"at most {MAX_DAYS} days may be asked for at once, and these are {days}"
            raise invalid_request(message, param="start_date")
        return start, end

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).date()


def _earlier(day: date, days: int) -> date:
    return day - timedelta(min(days, day.toordinal() - 1))


def _date(name: str, written: str) -> date:
    try:
        if DATE.fullmatch(written):
            return date.fromisoformat(written)
    except ValueError:
        pass
    message = f"`{name}` must be a day such as 2026-01-31, and is `{shortened(written)}`"
    raise invalid_request(message, param=name)


def _dimensions(group_by: Sequence[str] | None) -> tuple[Dimension, ...]:
    if group_by is None:
        return ("day",)
    names = [one for value in group_by for one in value.split(",") if one]
    for name in names:
        if name not in DIMENSIONS:
            raise _unknown(name)
    if len(set(names)) < len(names):
        raise invalid_request("`group_by` names something twice", param="group_by")
    return cast(tuple[Dimension, ...], tuple(names))


def _unknown(name: str) -> ApiError:
    known = ", ".join(f"`{dimension}`" for dimension in DIMENSIONS)
    message = f"`group_by` may have {known}, and has `{shortened(name)}`"
    return invalid_request(message, param="group_by")
