"""What owners see of their versions, and of what was refused."""

import time

import pytest
from pydantic import ValidationError

from adapters_registry.types import Tier
from app.adapters.pins import Warmth
from app.adapters.service import Version
from app.api.fine_tunings.schemas import (
    FineTuning,
    FineTuningList,
    FineTuningObject,
    FineTuningWarm,
    PinRequest,
)
from app.db.tables import FineTuningRow
from tests.app.api.fine_tunings.rows import refused_row

GROQ_FIELDS = (
    "id",
    "name",
    "base_model",
    "type",
    "input_file_id",
    "created_at",
    "fine_tuned_model",
)
"""Of the specification's `ReadFineTuningResponse`, in its order."""


def version(id: str = "ft_1", *, is_active: bool = True, **fields: object) -> Version:
    row = {
        "id": id,
        "name": "pirate",
        "base_model": "tiny",
        "input_file_id": "file_1",
        "source": None,
        "created_at": 1_700_000_000,
        "fine_tuned_model": "ft:tiny:org_1/pirate-0123456789ab",
        "digest": "0123456789ab" + "c" * 52,
        "rank": 8,
        "size_bytes": 1000,
        "pinned_until": None,
    }
    return Version(FineTuningRow(**row | fields), is_active)


def test_an_uploaded_version_shows_groqs_fields_first_and_then_ours() -> None:
    shown = FineTuning.of(version()).model_dump()
    assert tuple(shown)[: len(GROQ_FIELDS)] == GROQ_FIELDS
    assert shown == {
        "id": "ft_1",
        "name": "pirate",
        "base_model": "tiny",
        "type": "lora",
        "input_file_id": "file_1",
        "created_at": 1_700_000_000,
        "fine_tuned_model": "ft:tiny:org_1/pirate-0123456789ab",
        "status": "ready",
        "source": "upload",
        "alias": "ft:tiny:org_1/pirate",
        "active": True,
        "digest": "0123456789ab" + "c" * 52,
        "rank": 8,
        "bytes": 1000,
    }


def test_a_version_of_the_bucket_has_a_path_and_no_input_file() -> None:
    shown = FineTuning.of(version(input_file_id=None, source="acme/tiny/pirate")).model_dump()
    assert (shown["source"], shown["path"]) == ("bucket", "acme/tiny/pirate")
    assert "input_file_id" not in shown


def test_a_refused_adapter_shows_its_verdict_and_no_model() -> None:
    assert FineTuning.of(refused_row("org_1", id="ft_2")).model_dump() == {
        "id": "ft_2",
        "name": "broken",
        "base_model": "base",
        "type": "lora",
        "created_at": 1_700_000_000,
        "fine_tuned_model": None,
        "status": "failed",
        "source": "bucket",
        "path": "org_1/base/broken",
        "active": False,
        "error": {
            "code": "shape_mismatch",
            "param": "a.tensor",
            "message": "It has another shape.",
        },
    }


def test_a_verdict_on_no_place_has_no_param() -> None:
    shown = FineTuning.of(refused_row("org_1", param=None)).model_dump()
    assert shown["error"] == {"code": "shape_mismatch", "message": "It has another shape."}


def test_a_pin_is_shown_until_it_is_over() -> None:
    ahead, over = int(time.time()) + 100, int(time.time()) - 100
    assert FineTuning.of(version(pinned_until=ahead)).pinned_until == ahead
    assert "pinned_until" not in FineTuning.of(version(pinned_until=over)).model_dump()


def test_an_object_wraps_its_version_under_the_same_id() -> None:
    shown = FineTuningObject.of(version()).model_dump()
    assert list(shown) == ["id", "object", "data"]
    assert (shown["id"], shown["object"]) == ("ft_1", "fine_tuning")
    assert shown["data"] == FineTuning.of(version()).model_dump()


def test_a_list_merges_by_age_whatever_comes_first() -> None:
    listed = FineTuningList.of([version("ft_3"), version("ft_1"), refused_row("org_1", id="ft_2")])
    assert [item.id for item in listed.data] == ["ft_3", "ft_2", "ft_1"]


def test_warmth_is_told_in_milliseconds() -> None:
    shown = FineTuningWarm.of("ft_1", Warmth(Tier.STORE, 0.012345)).model_dump(mode="json")
    assert shown == {
        "id": "ft_1",
        "object": "fine_tuning.warm",
        "tier": "store",
        "milliseconds": 12.3,
    }


def test_a_pin_lasts_an_hour_unless_told() -> None:
    assert PinRequest().seconds == 3600


@pytest.mark.parametrize("seconds", [0, -1, 604_801, 1.5, "60", True, None])
def test_a_pin_takes_whole_seconds_of_a_week_at_most(seconds: object) -> None:
    assert PinRequest(seconds=604_800).seconds == 604_800
    with pytest.raises(ValidationError):
        PinRequest.model_validate({"seconds": seconds})
