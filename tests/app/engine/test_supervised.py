"""An engine that stays the same for who holds it, while what runs it dies and is replaced."""

import asyncio
from pathlib import Path

import pytest

from adapters_registry.testing import until
from adapters_registry.types import AdapterVersion, Digest, LoadedAdapter
from app.engine.base import EngineDead, EngineStartError, Run
from tests.app.engine.mortal_engine import Lives

ADAPTER = LoadedAdapter(AdapterVersion(Digest("a" * 64), "model"), 1, Path("/adapter"))


async def _nothing() -> None:
    return None


async def test_what_only_one_kind_of_engine_has_is_the_engines_own():
    lives = Lives()
    assert lives.engine.languages == ("en",)
    assert await lives.engine.prepare("job") == "job in life 1"


async def test_a_buried_engine_refuses_everything_and_still_tells_what_it_was():
    lives = Lives()
    await lives.engine.bury()
    for refused in (lives.engine.check, lambda: lives.engine.probe(Run("r"))):
        with pytest.raises(EngineDead):
            await refused()
    for name in ("prepare", "generate"):
        with pytest.raises(EngineDead):
            getattr(lives.engine, name)
    assert lives.engine.card.id == "model"
    assert lives.engine.languages == ("en",)


async def test_who_held_the_old_engine_asks_the_new_one():
    lives = Lives()
    host = lives.engine.adapters
    assert host is not None
    await lives.engine.bury()
    await lives.engine.revive(_nothing)
    await host.load(ADAPTER)
    assert await lives.engine.prepare("job") == "job in life 2"
    assert [list(life.host.known) for life in lives.all] == [[], [ADAPTER.engine_id]]
    assert [life.is_closed for life in lives.all] == [True, False]


async def test_the_hook_runs_before_anybody_may_use_the_new_engine():
    lives = Lives()
    await lives.engine.bury()

    async def see() -> None:
        assert len(lives.all) == 2
        with pytest.raises(EngineDead):
            await lives.engine.check()

    await lives.engine.revive(see)
    await lives.engine.check()


async def test_an_engine_that_does_not_start_again_stays_refused():
    lives = Lives()
    lives.failures = 1
    await lives.engine.bury()
    with pytest.raises(EngineStartError):
        await lives.engine.revive(_nothing)
    with pytest.raises(EngineDead):
        await lives.engine.check()


async def test_a_new_engine_that_nobody_wants_any_more_is_ended():
    lives = Lives()
    await lives.engine.bury()
    reviving = asyncio.create_task(lives.engine.revive(asyncio.Event().wait))
    await until(lambda: len(lives.all) == 2)
    reviving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reviving
    assert lives.all[1].is_closed


async def test_a_load_that_a_dying_engine_never_answers_ends_with_it():
    lives = Lives()
    host = lives.engine.adapters
    assert host is not None
    lives.all[0].host.open.clear()
    loading = asyncio.create_task(host.load(ADAPTER))
    await until(lambda: lives.all[0].host.loads)
    await lives.engine.bury()
    with pytest.raises(EngineDead):
        await loading
    with pytest.raises(EngineDead):
        await host.unload(ADAPTER)


async def test_a_time_out_of_the_callers_own_is_not_taken_for_a_death():
    engine = Lives().engine
    with pytest.raises(TimeoutError):
        async with engine.while_up():
            raise TimeoutError


@pytest.mark.parametrize("is_buried", [False, True])
async def test_closing_ends_the_engine_once(is_buried: bool):
    lives = Lives()
    if is_buried:
        await lives.engine.bury()
    await lives.engine.close()
    assert lives.all[0].is_closed
