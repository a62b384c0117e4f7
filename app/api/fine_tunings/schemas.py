"""Wire types of the fine-tunings resource.

**Source:** GroqCloud OpenAPI v2.1, `CreateFineTuningRequest`, `ReadFineTuningResponse`,
`ListFineTuningsResponse`. `data` carries the superset of what the schema and the docs show, and
what an owner of several versions wants to know; what does not apply is left out.
"""

import time
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters_registry.types import Tier
from app.adapters.pins import Warmth
from app.adapters.service import Version
from app.db.tables import BucketAdapterRow, FineTuningRow
from app.errors import shortened
from app.validation import refused

T = TypeVar("T")

MAX_PIN_SECONDS = 7 * 86_400
OrAbsent = Annotated[T | None, Field(exclude_if=lambda value: value is None)]
"""A field that is left out where it has no value."""
Filter = Annotated[str | None, Field(max_length=255, pattern=r"^[^\x00]*$")]


class CreateFineTuningRequest(BaseModel):
    """Unlike Groq's, this schema is closed: a mistyped field is an error, not a surprise."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input_file_id: str
    name: str
    type: Literal["lora"] = "lora"
    base_model: str


class PinRequest(BaseModel):
    """How long a version is to stay loaded."""

    model_config = ConfigDict(extra="forbid", strict=True)

    seconds: int = Field(3600, ge=1, le=MAX_PIN_SECONDS)


class ListFilters(BaseModel):
    """What narrows the list. A mistyped key is an error, lest it list more than was meant."""

    name: Filter = None
    base_model: Filter = None

    @model_validator(mode="before")
    @classmethod
    def _know_all(cls, query: dict[str, Any]) -> dict[str, Any]:
        for key in query:
            if key not in cls.model_fields:
                known = " and ".join(f"'{name}'" for name in cls.model_fields)
                text = f"query parameter '{shortened(key)}' is unsupported; known are {known}"
                raise refused(text, param=shortened(key))
        return query


class Verdict(BaseModel):
    """Which rule an adapter in the bucket breaks, where, and what to change."""

    code: str
    param: OrAbsent[str] = None
    message: str


class FineTuning(BaseModel):
    """One adapter version, or an adapter in the bucket that was refused.

    `fine_tuned_model` is null for a refused one. `path` is the adapter's directory in the bucket.
    `active` says that `alias` stands for this version, `digest` is the SHA-256 of its artifact,
    `bytes` the size; `pinned_until` is Unix seconds.
    """

    id: str
    name: str
    base_model: str
    type: Literal["lora"] = "lora"
    input_file_id: OrAbsent[str] = None
    created_at: int
    fine_tuned_model: str | None
    status: Literal["ready", "failed"]
    source: Literal["upload", "bucket"]
    path: OrAbsent[str] = None
    alias: OrAbsent[str] = None
    active: bool
    digest: OrAbsent[str] = None
    rank: OrAbsent[int] = None
    bytes: OrAbsent[int] = None
    pinned_until: OrAbsent[int] = None
    error: OrAbsent[Verdict] = None

    @classmethod
    def of(cls, found: Version | BucketAdapterRow) -> Self:
        """Build it from what the service found."""
        if isinstance(found, Version):
            return cls._ready(found.row, is_active=found.is_active)
        return cls._failed(found)

    @classmethod
    def _ready(cls, row: FineTuningRow, *, is_active: bool) -> Self:
        return cls(
            id=row.id,
            name=row.name,
            base_model=row.base_model,
            input_file_id=row.input_file_id,
            created_at=row.created_at,
            fine_tuned_model=row.fine_tuned_model,
            status="ready",
            source="upload" if row.source is None else "bucket",
            path=row.source,
            alias=row.fine_tuned_model.rpartition("-")[0],
            active=is_active,
            digest=row.digest,
            rank=row.rank,
            bytes=row.size_bytes,
            pinned_until=_if_ahead(row.pinned_until),
        )

    @classmethod
    def _failed(cls, row: BucketAdapterRow) -> Self:
        assert row.code is not None, "the service gives refused ones only"
        return cls(
            id=row.id,
            name=row.name,
            base_model=row.base_model,
            created_at=row.created_at,
            fine_tuned_model=None,
            status="failed",
            source="bucket",
            path=row.source,
            active=False,
            error=Verdict(code=row.code, param=row.param, message=row.message or row.code),
        )


class FineTuningObject(BaseModel):
    """The answer to all that is about one version: the version under `data`."""

    id: str
    object: Literal["fine_tuning"] = "fine_tuning"
    data: FineTuning

    @classmethod
    def of(cls, found: Version | BucketAdapterRow) -> Self:
        """Build it from what the service found."""
        data = FineTuning.of(found)
        return cls(id=data.id, data=data)


class FineTuningList(BaseModel):
    """Versions and refused adapters together, newest first."""

    object: Literal["list"] = "list"
    data: list[FineTuning]

    @classmethod
    def of(cls, found: Iterable[Version | BucketAdapterRow]) -> Self:
        """Build it from what the service found, in any order: an id tells when it was made."""
        items = [FineTuning.of(one) for one in found]
        return cls(data=sorted(items, key=lambda item: item.id, reverse=True))


class FineTuningWarm(BaseModel):
    """The answer to warm: where the weights were, and how long having them loaded took."""

    id: str
    object: Literal["fine_tuning.warm"] = "fine_tuning.warm"
    tier: Tier
    milliseconds: float

    @classmethod
    def of(cls, id: str, warmth: Warmth) -> Self:
        """Build it from what the service measured."""
        return cls(id=id, tier=warmth.tier, milliseconds=round(warmth.seconds * 1000, 1))


class FineTuningPinDeleted(BaseModel):
    """The answer to the end of a pin."""

    id: str
    object: Literal["fine_tuning.pin"] = "fine_tuning.pin"
    deleted: Literal[True] = True


class FineTuningDeleted(BaseModel):
    """The answer to delete."""

    id: str
    object: Literal["fine_tuning"] = "fine_tuning"
    deleted: Literal[True] = True


def _if_ahead(moment: int | None) -> int | None:
    """Return a pin's end while it has not come: a row keeps it for longer."""
    return moment if moment is not None and moment > time.time() else None
