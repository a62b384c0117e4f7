"""Which pool has a model, and what cannot be told apart."""

import pytest

from app.pools.directory import NO_POOLS, PoolDirectory, PoolsError, ServedElsewhere, check_pools
from app.settings import PoolSettings

POOLS = [
    PoolSettings(url="http://a:8000", models=("a1", "a2")),
    PoolSettings(url="https://b", models=("b1",)),
]


def test_the_pool_of_a_model_is_found_and_what_was_asked_is_told() -> None:
    with pytest.raises(ServedElsewhere) as found:
        PoolDirectory.of(POOLS).require_own("a2", "ft:a2:org/x")
    assert found.value.pool.url == "http://a:8000"
    assert found.value.pool.name == "a:8000"
    assert found.value.model == "ft:a2:org/x"


@pytest.mark.parametrize("model", ["own", "a", "", "ft:a1:org/x"])
def test_any_other_model_is_not_elsewhere(model: str) -> None:
    PoolDirectory.of(POOLS).require_own(model, model)
    NO_POOLS.require_own("a1", "a1")


def test_a_model_that_is_ours_too_is_refused_and_named() -> None:
    check_pools(POOLS, ["own", "other"])
    with pytest.raises(PoolsError, match="LORA_API_POOLS: the model b1"):
        check_pools(POOLS, ["own", "b1"])
