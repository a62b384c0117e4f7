"""How the demo's adapters are trained, and the name under which a result is cached."""

import hashlib
from dataclasses import astuple, dataclass

from deploy.quickstart.styles import Style

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Training settings; any change of them is a new cache entry."""

    rank: int = 8
    alpha: int = 16
    target_modules: tuple[str, ...] = ATTENTION + MLP
    learning_rate: float = 5e-4
    epochs: int = 6
    batch_size: int = 2
    seed: int = 7


RECIPE = Recipe()


def cache_name(style: Style, recipe: Recipe = RECIPE) -> str:
    """Return `<style>-<12 hex digits of settings and pairs>`."""
    content = repr((astuple(recipe), style.pairs)).encode()
    return f"{style.name}-{hashlib.sha256(content).hexdigest()[:12]}"
