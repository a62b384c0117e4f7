"""Turns of two or more sides, and what their figures are summed up to.

Sides take turns (A B A B), so that what else the machine does meets all of them, and ratios are
formed turn by turn before anything is averaged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the ends of figures of one kind."""

    median: float
    least: float
    most: float
    count: int

    def __str__(self) -> str:
        return f"{figure(self.median)} ({figure(self.least)}–{figure(self.most)})"


def figure(value: float) -> str:
    """Write a number with three significant digits, and none cut from whole ones."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> Spread:
    """Sum up one figure or more."""
    return Spread(median(values), min(values), max(values), len(values))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least of the values that this share of all, from 0 to 1, does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def in_turns(count: int, sides: Mapping[str, Callable[[int], T]]) -> dict[str, list[T]]:
    """Call every side in each of `count` turns, with the turn's number, and keep the answers."""
    found: dict[str, list[T]] = {name: [] for name in sides}
    for turn in range(count):
        for name, run in sides.items():
            found[name].append(run(turn))
    return found


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Sum up the ratios of each turn's two figures."""
    return spread([first / second for first, second in zip(above, below, strict=True)])
