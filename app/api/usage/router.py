"""The Usage resource over HTTP; read only."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.usage.cursor import MAX_CHARACTERS, PATTERN
from app.api.usage.schemas import DEFAULT_PAGE, MAX_PAGE, UsageList
from app.api.usage.service import Asked
from app.dependencies import CallerDep, UsageServiceDep
from app.usage.repository import DIMENSIONS

router = APIRouter(prefix="/usage")

Day = Annotated[str | None, Query(json_schema_extra={"format": "date"})]
GroupBy = Annotated[list[str] | None, Query(json_schema_extra={"items": {"enum": [*DIMENSIONS]}})]
GroupByInBrackets = Annotated[list[str] | None, Query(alias="group_by[]", include_in_schema=False)]
Cursor = Annotated[
    str | None, Query(json_schema_extra={"pattern": PATTERN, "maxLength": MAX_CHARACTERS})
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


@router.get("", operation_id="listUsage")
async def list_usage(
    caller: CallerDep,
    usage: UsageServiceDep,
    start_date: Day = None,
    end_date: Day = None,
    group_by: GroupBy = None,
    group_by_in_brackets: GroupByInBrackets = None,
    after: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> UsageList:
    """Add up what the organisation has used.

    Days are UTC and `end_date` is the last one; without dates it is the last 30 days, and at most
    they may be 92. What was used in the last few seconds may be missing. Groups are in the order of
    what they are grouped by, such as `day,model`; an empty `group_by` has one group of all.
    """
    asked = Asked(start_date, end_date, group_by or group_by_in_brackets, after, limit)
    return await usage.list(caller.org_id, asked)
