"""When engines are brought back, how often that is tried, and what is told on the way."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters_registry.testing import until
from app.engine import supervision
from app.engine.supervision import DeathStreak, Duties, RestartPolicy, Supervisor
from tests.app.engine.mortal_engine import Lives

POLICY = RestartPolicy(pause_seconds=1, longest_pause_seconds=10, deaths=5, stable_seconds=100)
AT_ONCE = RestartPolicy(pause_seconds=1e-9, longest_pause_seconds=1e-9, deaths=3, stable_seconds=60)


def streak_of(*lives: float) -> DeathStreak:
    """Return the streak of an engine that has lived so long each time."""
    streak, now = DeathStreak(POLICY, 0.0), 0.0
    for seconds in lives:
        streak.started(now)
        streak.died(now := now + seconds)
    return streak


@pytest.mark.parametrize(
    ("lives", "pause"),
    [([200], 0), ([0], 0), ([200, 5], 1), ([0, 0, 0], 2), ([0] * 4, 4), ([0] * 9, 10)],
)
def test_the_first_start_is_at_once_and_each_further_pause_is_twice_as_long(
    lives: list[float], pause: float
):
    assert streak_of(*lives).pause == pause


def test_an_engine_that_ran_long_begins_a_new_row():
    streak = streak_of(0, 0, 0, 0, 100)
    assert (streak.deaths, streak.is_over, streak.pause) == (1, False, 0.0)


@given(st.lists(st.floats(0, 300)))
def test_a_row_is_over_when_so_many_lives_on_end_were_short(lives: list[float]):
    streak = streak_of(*lives)
    short = 0
    for seconds in reversed(lives):
        if seconds >= POLICY.stable_seconds:
            break
        short += 1
    # The life before them was a long one, and its death is the first of the streak.
    deaths = min(short + 1, len(lives))
    assert streak.deaths == deaths
    assert streak.is_over == (deaths >= POLICY.deaths)


@given(st.integers(0, 5000))
def test_a_pause_is_never_longer_than_the_longest(deaths: int):
    streak = DeathStreak(POLICY, 0.0)
    streak.deaths = deaths
    assert 0 <= streak.pause <= POLICY.longest_pause_seconds


@dataclass
class World:
    """A watched model, what was told of it, and whether the process is to end."""

    lives: Lives
    told: list[str] = field(default_factory=list)
    given_up: asyncio.Event = field(default_factory=asyncio.Event)
    is_ending: bool = False

    def engine_up(self, model: str) -> None:
        self.told.append("up")

    def engine_down(self, model: str) -> None:
        self.told.append("down")

    def engine_restarted(self, model: str) -> None:
        self.told.append("restarted")

    async def forget(self, model: str) -> None:
        self.told.append(f"forgets {model}")


@asynccontextmanager
async def watched(
    monkeypatch: pytest.MonkeyPatch, *, optional: Collection[str] = ()
) -> AsyncIterator[World]:
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 0)
    monkeypatch.setattr(supervision, "spare_the_garbage_collector", lambda: None)
    world = World(Lives())
    duties = Duties(world.forget, world.given_up.set, lambda: world.is_ending, world)
    supervisor = Supervisor(
        [world.lives.engine], AT_ONCE, duties, optional=optional, clock=lambda: 0.0
    )
    supervisor.start()
    try:
        yield world
    finally:
        await supervisor.close()


async def test_a_dead_engine_is_ended_forgotten_and_then_started_again(
    monkeypatch: pytest.MonkeyPatch,
):
    async with watched(monkeypatch) as world:
        world.lives.kill()
        await until(lambda: world.told.count("up") == 2)
        assert world.told == ["up", "down", "forgets model", "restarted", "up"]
        assert [life.is_closed for life in world.lives.all] == [True, False]
        await world.lives.engine.check()


async def test_starts_that_fail_are_deaths_of_the_row(monkeypatch: pytest.MonkeyPatch):
    async with watched(monkeypatch) as world:
        world.lives.failures = 9
        world.lives.kill()
        async with asyncio.timeout(10):
            await world.given_up.wait()
        assert world.lives.starts == AT_ONCE.deaths - 1
        assert world.told == ["up", "down"]


async def test_engines_that_die_again_and_again_end_the_process(monkeypatch: pytest.MonkeyPatch):
    async with watched(monkeypatch) as world:
        for life in range(AT_ONCE.deaths - 1):
            world.lives.kill()
            await until(lambda life=life: world.told.count("restarted") == life + 1)
            assert not world.given_up.is_set()
        world.lives.kill()
        async with asyncio.timeout(10):
            await world.given_up.wait()
        assert world.told[-1] == "down"


async def test_an_optional_model_is_tried_for_ever(monkeypatch: pytest.MonkeyPatch):
    async with watched(monkeypatch, optional=["model"]) as world:
        world.lives.failures = AT_ONCE.deaths * 4
        world.lives.kill()
        await until(lambda: "restarted" in world.told)
        assert not world.given_up.is_set()


async def test_a_process_that_ends_starts_nothing_again(monkeypatch: pytest.MonkeyPatch):
    async with watched(monkeypatch) as world:
        world.is_ending = True
        world.lives.kill()
        await until(lambda: "down" in world.told)
        await asyncio.sleep(0)
        assert world.lives.starts == 0


async def test_an_engine_that_cannot_be_ended_ends_the_process(monkeypatch: pytest.MonkeyPatch):
    async with watched(monkeypatch) as world:
        world.lives.all[0].is_closed = True  # so that ending it goes wrong
        world.lives.kill()
        async with asyncio.timeout(10):
            await world.given_up.wait()


async def test_closing_waits_for_a_start_under_way_and_starts_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
):
    async with watched(monkeypatch) as world:
        world.lives.may_start.clear()
        world.lives.kill()
        await until(lambda: world.lives.starts)
    assert len(world.lives.all) == 1
