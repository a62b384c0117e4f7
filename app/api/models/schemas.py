"""Wire types of the models resource.

**Source:** GroqCloud OpenAPI v2.1, `Model`, `ListModelsResponse`, `DeleteModelResponse`, and the
further fields that GroqCloud sends.
"""

from typing import Literal

from pydantic import BaseModel


class Model(BaseModel):
    """A base model or one of the caller's own adapters."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    active: bool = True
    context_window: int
    public_apps: None = None
    max_completion_tokens: int


class ModelList(BaseModel):
    """Everything the caller may use."""

    object: Literal["list"] = "list"
    data: list[Model]


class ModelDeleted(BaseModel):
    """The answer to delete."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True
