"""What this process tells those that fetch lines for it."""

import asyncio
from dataclasses import replace

import pytest

from app.batches.types import Capacity
from app.engine.base import EngineDead
from app.inference.admission import BoundedAdmission
from app.inference.capacity import TRUSTED_SECONDS, SpareCapacity
from app.inference.spare import QUIET_SECONDS
from tests.app.inference.lines import Host
from tests.app.inference.stubs import CARD, StubEngine
from tests.app.inference.test_admission import Clock


class CheckedEngine(StubEngine):
    """Counts how often it is asked whether it lives."""

    def __init__(self, max_running: int = 32) -> None:
        super().__init__()
        self.card = replace(CARD, id="tiny", max_running=max_running)
        self.is_dead = False
        self.checks = 0

    async def check(self) -> None:
        self.checks += 1
        await asyncio.sleep(0)
        if self.is_dead:
            raise EngineDead


@pytest.fixture
def engine() -> CheckedEngine:
    return CheckedEngine()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def capacity(engine: CheckedEngine, clock: Clock) -> Capacity:
    admission = BoundedAdmission([engine.card], queue=1)
    return SpareCapacity({"tiny": engine}, admission, clock=clock)


def test_the_models_are_those_that_run(capacity):
    assert capacity.models == ("tiny",)


def test_lines_are_those_in_the_engine_and_some_that_are_rendered(capacity):
    assert capacity.lines("tiny") == 64 + 16


def test_an_engine_of_one_place_has_lines_too():
    engine = CheckedEngine(max_running=1)
    capacity = SpareCapacity({"tiny": engine}, BoundedAdmission([engine.card], queue=1))
    assert capacity.lines("tiny") == 2 + 2


@pytest.mark.parametrize(("slots", "most"), [(1, 1), (2, 1), (8, 7)])
def test_one_slot_is_left_to_others_for_as_long_as_there_are_some(engine, clock, slots, most):
    admission = BoundedAdmission([engine.card], queue=1, hosts={"tiny": Host(slots)}, clock=clock)
    capacity = SpareCapacity({"tiny": engine}, admission, clock=clock)
    assert capacity.adapters("tiny") == most
    clock.now += QUIET_SECONDS
    assert capacity.adapters("tiny") == slots
    with admission.enter("tiny", "on_demand", 1):
        assert capacity.adapters("tiny") == most


def test_without_slots_there_is_no_bound_but_that_of_lines(capacity):
    assert capacity.adapters("tiny") == capacity.lines("tiny")


async def test_whether_a_model_answers_is_asked_once_in_a_while(capacity, engine, clock):
    assert await capacity.is_up("tiny")
    engine.is_dead = True
    assert await capacity.is_up("tiny")
    clock.now += TRUSTED_SECONDS
    assert not await capacity.is_up("tiny")
    assert not await capacity.is_up("tiny")
    assert engine.checks == 2
