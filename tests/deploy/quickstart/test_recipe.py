"""A cached adapter is found again only under the settings and pairs it was trained with."""

from dataclasses import replace

from deploy.quickstart.recipe import RECIPE, cache_name
from deploy.quickstart.styles import JSON, PIRATE


def test_the_name_starts_with_the_style() -> None:
    assert cache_name(PIRATE).startswith("pirate-")


def test_another_setting_is_another_name() -> None:
    assert cache_name(PIRATE, replace(RECIPE, epochs=RECIPE.epochs + 1)) != cache_name(PIRATE)


def test_another_pair_is_another_name() -> None:
    assert cache_name(replace(JSON, pairs=JSON.pairs[1:])) != cache_name(JSON)
