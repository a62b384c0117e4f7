"""Plain data of batches: what a client asked, how it is cut up, and who holds which part."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

from app.db import tables
from app.inference.context import RequestContext

Status = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]
STATUSES: tuple[Status, ...] = get_args(Status)
UNFINISHED: tuple[Status, ...] = tables.UNFINISHED

ChunkState = Literal["queued", "running", "done", "dropped"]
"""`dropped` chunks are those of a batch that expired or was cancelled: nobody may add to them."""


@dataclass(frozen=True, slots=True)
class BatchError:
    """Why a batch failed. `line` counts from 1; None where the file as a whole is at fault."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a batch. `number` is its line in the client's file, counted from 1.

    `url` is one of the endpoints' own, such as `/v1/chat/completions`; `length` counts the line's
    bytes.
    """

    number: int
    custom_id: str
    url: str
    body: Mapping[str, Any]
    length: int


class ChunkSpec(NamedTuple):
    """A chunk as it is planned; the fields are those of `BatchChunkRow`."""

    model: str
    adapter: str
    start: int
    length: int
    lines: int


class Step(NamedTuple):
    """The right to validate or to finalise a batch, as long as the row's token is this one."""

    batch_id: str
    org_id: str
    token: str


class Endpoint(Protocol):
    """Answers one line as its route would, and returns the JSON of a 200. **Raises:** ApiError.

    `length` is how many bytes the body's JSON has at most: as many as its line.
    """

    async def __call__(
        self, context: RequestContext, body: Mapping[str, Any], *, length: int
    ) -> bytes: ...


Endpoints = Mapping[str, Endpoint]
"""By url."""


class Capacity(Protocol):
    """What this replica has for batches."""

    @property
    def models(self) -> tuple[str, ...]:
        """Base models that it serves."""
        ...

    def lines(self, model: str) -> int:
        """Return how many lines of a model may be on their way at once; the rest would wait."""
        ...

    def adapters(self, model: str) -> int:
        """Return how many adapters of a model they may ask at once."""
        ...

    async def is_up(self, model: str) -> bool:
        """Tell whether the model answers now."""
        ...
