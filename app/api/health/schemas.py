"""Wire types of the probes."""

from typing import Literal

from pydantic import BaseModel


class Liveness(BaseModel):
    """The answer of a process that handles requests."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether this replica can answer, and the names of the parts that do not work."""

    status: Literal["ok", "unavailable"]
    failing: list[str]
    degraded: list[str]
