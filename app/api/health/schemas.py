"""Wire types of the probes."""

from typing import Literal

from pydantic import BaseModel

ModelStatus = Literal["up", "down", "not_started"]
"""`not_started` is an optional model that this server could not start and does without."""


class Liveness(BaseModel):
    """The answer of a process that handles requests."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether this replica can answer, the names of the parts that do not work, and its models."""

    status: Literal["ok", "unavailable"]
    failing: list[str]
    degraded: list[str]
    models: dict[str, ModelStatus]
