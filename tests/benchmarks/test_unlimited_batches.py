from collections.abc import Iterator

import pytest

from app.engine.base import ModelCard
from app.inference import admission
from benchmarks.unlimited_batches import BoundlessUse, boundless_gate, take_limits_away

CARD = ModelCard(
    id="tiny",
    owned_by="us",
    context_window=512,
    max_completion_tokens=256,
    fingerprint="fp_1",
    max_running=4,
    cache_tokens=2048,
    task="chat",
)


@pytest.fixture
def restored() -> Iterator[None]:
    before = dict(vars(admission))
    yield
    vars(admission).clear()
    vars(admission).update(before)


def test_batch_lines_come_in_beyond_what_runs_at_once() -> None:
    gate = boundless_gate(CARD, 2.0, 0.1)
    for _ in range(2 * CARD.max_running):
        gate.add("batch", 16)

    assert gate.lacks("batch", 16) is None
    assert gate.lacks("on_demand", 16) is None


def test_lines_may_ask_any_number_of_adapters_whoever_else_asks() -> None:
    use = BoundlessUse(None, 0.1)
    for adapter in range(8):
        use.begin_line(adapter)
    with use.asking("theirs"):
        assert not use.lacks_share("mine", is_alone=False)
        assert not use.lacks_room("mine", is_alone=False)
        assert not use.lacks_slots([*range(8), "mine"])
        assert use.lacks_seats("theirs", 8) == 0


@pytest.mark.usefixtures("restored")
def test_admission_is_made_of_the_parts_without_limits() -> None:
    take_limits_away()

    assert vars(admission)["make_gate"] is boundless_gate
    assert vars(admission)["AdapterUse"] is BoundlessUse


@pytest.mark.usefixtures("restored")
def test_an_admission_that_is_made_otherwise_is_not_measured_as_if_it_were_unlimited() -> None:
    del vars(admission)["AdapterUse"]

    with pytest.raises(LookupError, match="AdapterUse"):
        take_limits_away()
