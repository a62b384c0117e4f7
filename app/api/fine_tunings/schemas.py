"""Wire types of the fine-tunings resource.

**Source:** GroqCloud OpenAPI v2.1, `CreateFineTuningRequest`, `ReadFineTuningResponse`,
`ListFineTuningsResponse`. `data` carries the superset of what the schema and the docs show.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from app.db.tables import FineTuningRow


class CreateFineTuningRequest(BaseModel):
    """Unlike Groq's, this schema is closed: a mistyped field is an error, not a surprise."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input_file_id: str
    name: str
    type: Literal["lora"] = "lora"
    base_model: str


class FineTuning(BaseModel):
    """One registered adapter version."""

    id: str
    name: str
    base_model: str
    type: Literal["lora"] = "lora"
    input_file_id: str
    created_at: int
    fine_tuned_model: str

    @classmethod
    def of(cls, row: FineTuningRow) -> Self:
        """Build it from its row."""
        return cls(
            id=row.id,
            name=row.name,
            base_model=row.base_model,
            input_file_id=row.input_file_id,
            created_at=row.created_at,
            fine_tuned_model=row.fine_tuned_model,
        )


class FineTuningObject(BaseModel):
    """The answer to create and get: the version under `data`."""

    id: str
    object: Literal["fine_tuning"] = "fine_tuning"
    data: FineTuning

    @classmethod
    def of(cls, row: FineTuningRow) -> Self:
        """Build it from its row."""
        return cls(id=row.id, data=FineTuning.of(row))


class FineTuningList(BaseModel):
    """All versions of the organisation, newest first."""

    object: Literal["list"] = "list"
    data: list[FineTuning]


class FineTuningDeleted(BaseModel):
    """The answer to delete."""

    id: str
    object: Literal["fine_tuning"] = "fine_tuning"
    deleted: Literal[True] = True
