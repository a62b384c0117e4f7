"""Service tiers: what a caller may ask for, and what each means to the engine's scheduler."""

from collections.abc import Mapping
from typing import Literal

Tier = Literal["performance", "on_demand", "flex", "batch"]
AskedTier = Literal["auto", "on_demand", "flex", "performance"]

PRIORITIES: Mapping[Tier, int] = {"performance": 0, "on_demand": 10, "flex": 20, "batch": 30}
"""vLLM runs lower ones first; it does not interrupt what runs, so admission comes before it."""

BEST_FIRST: tuple[Tier, ...] = ("performance", "on_demand", "flex")
"""What `auto` stands for: the best tier whose budget is not used up."""


def wanted(asked: AskedTier | None) -> tuple[Tier, ...]:
    """Return the tiers to try, in order."""
    if asked == "auto":
        return BEST_FIRST
    return (asked or "on_demand",)
