"""Plans: what the file may say, and what its mistakes are answered with."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.catalog import Catalog
from app.limits.plans import Plans, PlansError, load_plans

DEPLOY = Path(__file__).parents[3] / "deploy"

FREE: dict[str, Any] = {"models": {"*": {"rpm": 30, "tpd": 1000}, "big": {"rpm": 5}}}
GOOD: dict[str, Any] = {
    "default": "free",
    "plans": {"free": FREE, "paid": {"tiers": ["on_demand", "flex"], "models": {"*": {"asd": 9}}}},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plans.yaml"


def amounts(plans: Plans, name: str | None, model: str, tier: str = "on_demand") -> dict[str, int]:
    quota = plans.quota(name, model, tier)
    limits = quota.requests + quota.tokens + quota.seconds
    return {limit.dimension.name: limit.amount for limit in limits}


def test_a_file_is_read(path: Path) -> None:
    path.write_text(yaml.safe_dump(GOOD))
    assert load_plans(path) == Plans.model_validate(GOOD)


def test_a_model_that_is_not_named_has_the_limits_of_the_star() -> None:
    assert amounts(Plans.model_validate(GOOD), "free", "small") == {"rpm": 30, "tpd": 1000}


def test_a_named_model_takes_nothing_from_the_star() -> None:
    assert amounts(Plans.model_validate(GOOD), "free", "big") == {"rpm": 5}


def test_a_model_that_no_entry_covers_is_unlimited() -> None:
    plans = Plans.model_validate({"default": "a", "plans": {"a": {"models": {"big": {"rpm": 1}}}}})
    assert amounts(plans, "a", "small") == {}


def test_a_model_may_be_named_to_be_unlimited() -> None:
    models = {"*": {"rpm": 1}, "free-for-all": {}}
    plans = Plans.model_validate({"default": "a", "plans": {"a": {"models": models}}})
    assert amounts(plans, "a", "free-for-all") == {}


@pytest.mark.parametrize("name", [None, "gone"])
def test_no_plan_and_one_that_is_gone_stand_for_the_default(name: str | None) -> None:
    assert amounts(Plans.model_validate(GOOD), name, "big") == {"rpm": 5}


def test_flex_has_ten_times_the_limits() -> None:
    plans = Plans.model_validate(GOOD)
    assert amounts(plans, "paid", "any", "flex") == {"asd": 90}
    assert amounts(plans, "paid", "any", "performance") == {"asd": 9}


def test_batches_have_no_limits() -> None:
    plans = Plans.model_validate(GOOD)
    assert amounts(plans, "free", "any", "batch") == {}
    assert amounts(plans, "free", "big", "batch") == {}


@pytest.mark.parametrize("said", [{}, {"batches": True}])
def test_a_plan_has_batches_unless_it_says_no(said: dict[str, bool]) -> None:
    plans = Plans.model_validate({"default": "a", "plans": {"a": {**FREE, **said}}})
    assert plans.plan(None).allows("batch")


def test_a_plan_may_have_no_batches(path: Path) -> None:
    path.write_text("default: a\nplans: {a: {batches: no, tiers: [on_demand, flex]}}")
    plan = load_plans(path).plan("a")
    assert [plan.allows(tier) for tier in ("batch", "on_demand", "flex")] == [False, True, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"default": "gold"}, "default must be the name of one of the plans"),
        ({"plans": {}}, "plans: "),
        ({"extra": 1}, "extra: Extra inputs"),
        ({"plans": {"free": {"limits": {}}}}, "plans.free.limits: Extra inputs"),
        ({"plans": {"free": {"tiers": []}}}, "plans.free.tiers: "),
        ({"plans": {"free": {"tiers": ["gold"]}}}, "plans.free.tiers.0: "),
        ({"plans": {"free": {"tiers": ["batch"]}}}, "plans.free.tiers.0: "),
        ({"plans": {"free": {"batches": "no"}}}, "plans.free.batches: "),
        ({"plans": {"free": {"batches": 0}}}, "plans.free.batches: "),
        ({"plans": {"Free": FREE}}, "plans.Free.[key]: "),
        ({"plans": {"free": {"models": {"*": {"tps": 1}}}}}, "plans.free.models.*.tps: Extra"),
        ({"plans": {"free": {"models": {"*": {"tpm": 0}}}}}, "plans.free.models.*.tpm: "),
        ({"plans": {"free": {"models": {"*": {"tpm": -1}}}}}, "plans.free.models.*.tpm: "),
        ({"plans": {"free": {"models": {"*": {"tpm": "9"}}}}}, "plans.free.models.*.tpm: "),
        ({"plans": {"free": {"models": {"*": {"tpm": 1.5}}}}}, "plans.free.models.*.tpm: "),
        ({"plans": {"free": {"models": {"*": {"tpm": True}}}}}, "plans.free.models.*.tpm: "),
        ({"plans": {"free": {"models": {"*": {"tpm": 10**30}}}}}, "plans.free.models.*.tpm: "),
    ],
)
def test_a_mistake_is_named_with_file_and_key(
    path: Path, change: dict[str, Any], message: str
) -> None:
    path.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(PlansError) as caught:
        load_plans(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "file: "),
        (b"- 1", "file: "),
        (b"plans: {", "not valid YAML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"default: free", "plans: Field required"),
        (b"plans: {free: {}}", "default: Field required"),
    ],
)
def test_a_file_that_is_no_plans_is_named(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(PlansError, match=f"^{path}: .*{message}"):
        load_plans(path)


def test_a_file_that_is_missing_is_named(path: Path) -> None:
    with pytest.raises(PlansError, match=f"^{path}: cannot be read: No such file"):
        load_plans(path)


def test_the_example_limits_every_model_of_the_catalogs_but_for_enterprises() -> None:
    plans = load_plans(DEPLOY / "plans" / "example.yaml")
    documents = (yaml.safe_load(file.read_text()) for file in DEPLOY.glob("catalogs/*.yaml"))
    models = [model.id for document in documents for model in Catalog(**document).models]
    assert len(models) > 1
    for model in models:
        assert amounts(plans, None, model)["rpm"] < amounts(plans, "developer", model)["rpm"]
        assert amounts(plans, "enterprise", model) == {}
