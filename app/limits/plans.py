"""Plans: how much an organisation may use of each model, read once at start from a YAML file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)

from app.limits.dimensions import DIMENSIONS, IN_HEADERS, Limit, Unit

Tier = Literal["on_demand", "flex", "performance"]
PlanName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Amount = Annotated[StrictInt, Field(ge=1, le=10**12)]

ANY_MODEL = "*"
FLEX = "flex"
FLEX_MULTIPLE = 10
"""**Source:** GroqCloud, flex processing."""
BATCH = "batch"
"""The tier of batches' lines, which no request can ask for."""


class PlansError(Exception):
    """The plans cannot be used; the message names the file and the key."""


class Part(BaseModel):
    """Any part of the file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelLimits(Part):
    """The limits of one model; one that is absent is unlimited."""

    rpm: Amount | None = None
    rpd: Amount | None = None
    tpm: Amount | None = None
    tpd: Amount | None = None
    ash: Amount | None = None
    asd: Amount | None = None


class Plan(Part):
    """One plan: its service tiers, and limits by base model, `*` for those that are not named.

    Batches are no tier that a request asks for, and have none of these limits.
    """

    tiers: tuple[Tier, ...] = Field(("on_demand",), min_length=1)
    batches: StrictBool = True
    models: dict[str, ModelLimits] = Field(default_factory=dict)

    def limits_of(self, model: str) -> ModelLimits:
        """Return the limits of a model; a named one takes nothing from `*`."""
        return self.models.get(model) or self.models.get(ANY_MODEL) or ModelLimits()

    def allows(self, tier: str) -> bool:
        """Tell whether the plan has a service tier, or batches."""
        return self.batches if tier == BATCH else tier in self.tiers


@dataclass(frozen=True, slots=True)
class Quota:
    """What a plan admits of one model in one tier, by unit."""

    requests: tuple[Limit, ...] = ()
    tokens: tuple[Limit, ...] = ()
    seconds: tuple[Limit, ...] = ()
    tokens_in_headers: tuple[Limit, ...] = ()


class Plans(Part):
    """The whole file: `plans:` by name, and the name of the `default:`."""

    plans: dict[PlanName, Plan] = Field(min_length=1)
    default: str

    @model_validator(mode="after")
    def default_exists(self) -> Self:
        if self.default not in self.plans:
            raise ValueError("default must be the name of one of the plans")
        return self

    def plan(self, name: str | None) -> Plan:
        """Return the plan of this name, else the default."""
        return self.plans.get(name or self.default) or self.plans[self.default]

    def quota(self, name: str | None, model: str, tier: str) -> Quota:
        """Return what a plan admits of a model: flex has ten times the limits, batches none."""
        if tier == BATCH:
            return Quota()
        limits = self.plan(name).limits_of(model)
        multiple = FLEX_MULTIPLE if tier == FLEX else 1
        all_limits = tuple(_limits(limits, multiple))
        tokens = _of_unit(all_limits, "tokens")
        return Quota(
            requests=_of_unit(all_limits, "requests"),
            tokens=tokens,
            seconds=_of_unit(all_limits, "seconds"),
            tokens_in_headers=tuple(
                limit for limit in tokens if limit.dimension.name == IN_HEADERS["tokens"]
            ),
        )


def _limits(limits: ModelLimits, multiple: int) -> Iterator[Limit]:
    for dimension in DIMENSIONS:
        amount: int | None = getattr(limits, dimension.name)
        if amount is not None:
            yield Limit(dimension, amount * multiple)


def _of_unit(limits: tuple[Limit, ...], unit: Unit) -> tuple[Limit, ...]:
    return tuple(limit for limit in limits if limit.dimension.unit == unit)


def load_plans(path: Path) -> Plans:
    """Read and check the plans. Blocks on local disk. **Raises:** PlansError."""
    try:
        return Plans.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PlansError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PlansError(f"{path}: not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise PlansError(f"{path}: not valid YAML: {error}") from error
    except ValidationError as error:
        raise PlansError(_describe(path, error)) from error


def _describe(path: Path, error: ValidationError) -> str:
    problems = (
        f"{'.'.join(str(part) for part in problem['loc']) or 'file'}: "
        + problem["msg"].removeprefix("Value error, ")
        for problem in error.errors()
    )
    return f"{path}: " + "; ".join(problems)
