"""Batches on the wire.

**Source:** GroqCloud OpenAPI v2.1, `Batch`, `ListBatchesResponse` and the body of `createBatch`;
GroqDocs, batch, for endpoints and `paging`; the limits of `metadata` are OpenAI's. What does not
apply is null, as in Groq's examples.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema

from app.batches.lines import ALIAS, URLS, own_url
from app.batches.types import Status
from app.batches.window import PATTERN, window_seconds
from app.pagination import Listed, Page
from app.validation import worded
from app.wire import Closed

MAX_PAGE = 100
DEFAULT_PAGE = 20
MAX_IDS = 200


def _endpoint(value: str) -> str:
    own = own_url(value)
    if own is None:
        known = ", ".join(f"`{url}`" for url in URLS)
        raise worded(f"value must be one of {known}")
    return own


def _window(value: str) -> str:
    if window_seconds(value) is None:
        raise worded("value must be a duration from `24h` to `7d`")
    return value


ENDPOINTS = [*URLS, *(ALIAS + url for url in URLS)]
Endpoint = Annotated[
    str, AfterValidator(_endpoint), WithJsonSchema({"type": "string", "enum": ENDPOINTS})
]
Window = Annotated[
    str, AfterValidator(_window), WithJsonSchema({"type": "string", "pattern": PATTERN})
]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]


class CreateBatchRequest(Closed):
    """Which file is to be worked off, and until when."""

    input_file_id: str
    endpoint: Endpoint
    completion_window: Window
    metadata: Metadata | None = None


class BatchErrorObject(BaseModel):
    """What is wrong with the input file; `line` counts from 1, null is the file as a whole."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(BaseModel):
    """All that is wrong with the input file, or the beginning of it."""

    object: Literal["list"] = "list"
    data: list[BatchErrorObject]


class RequestCounts(BaseModel):
    """How many lines there are, and how many have a result; zeros until they are known."""

    total: int
    completed: int
    failed: int


class BatchObject(Listed):
    """One batch. All times are Unix seconds. The result files are named once it has ended."""

    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: Status
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None


class Paging(BaseModel):
    """How Groq's clients go on."""

    next_cursor: str | None


class BatchList(Page[BatchObject]):
    """One page of batches, for both ways to turn it."""

    paging: Paging

    @classmethod
    def of_page(cls, batches: Sequence[BatchObject], *, has_more: bool) -> Self:
        """Wrap one page's batches, which are in order."""
        page = Page[BatchObject].of(list(batches), has_more=has_more)
        paging = Paging(next_cursor=page.last_id if has_more else None)
        return cls(**dict(page), paging=paging)
