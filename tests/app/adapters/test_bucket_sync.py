"""Rounds of the bucket sync over a real database, store, cache and registry."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from adapters_registry.artifacts import ARTIFACT_FILES
from adapters_registry.errors import StoreUnavailable
from adapters_registry.sync import CONFIG_ALONE_SECONDS
from adapters_registry.testing import RecordingHost, until
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE
from app.adapters.bucket_actions import Outcome
from app.adapters.bucket_sync import Ignored, Status
from app.auth.repository import ensure_organization
from app.engine.base import EngineDead, EngineOverloaded
from tests.adapters_registry.adapters import SHAPES
from tests.app.adapters.bucket import PREFIX, Bucket, WatchedStore, assert_unknown, bucket_of
from tests.app.adapters.world import BASE, ScriptedEngine, World


@pytest.fixture
def watched(world: World) -> WatchedStore:
    return WatchedStore(world.store)


@pytest.fixture
async def bucket(world: World, watched: WatchedStore) -> AsyncIterator[Bucket]:
    made = bucket_of(world, store=watched)
    await made.keep()
    yield made
    await made.withdrawals.close()


async def test_what_lies_in_the_bucket_answers_after_two_rounds(bucket: Bucket) -> None:
    await bucket.write("mine")

    await bucket.sync.run_round()
    await assert_unknown(bucket, "mine")
    assert bucket.statuses == {Status.WAITING: 1}

    await bucket.sync.run_round()
    assert (await bucket.answers("mine")).startswith(f"ft:{BASE}:")
    assert bucket.statuses == {Status.READY: 1}


async def test_a_directory_may_name_its_organisation_by_id(bucket: Bucket) -> None:
    await bucket.write("mine", org=bucket.world.org_id)

    await bucket.settle()

    assert await bucket.answers("mine")


async def test_a_quiet_bucket_is_acted_upon_once(bucket: Bucket) -> None:
    await bucket.write("mine")
    for _ in range(3):
        await bucket.settle()

    assert bucket.sync.stats.outcomes == {Outcome.PUBLISHED: 1}
    assert len(bucket.world.engine.runs) == 1


@pytest.mark.parametrize(
    "files", [(CONFIG_FILE, WEIGHTS_FILE), (WEIGHTS_FILE, CONFIG_FILE)], ids=["config", "weights"]
)
async def test_either_file_may_come_first(bucket: Bucket, files: tuple[str, str]) -> None:
    await bucket.write("mine", files=files[:1])
    await bucket.settle()
    await assert_unknown(bucket, "mine")
    assert bucket.statuses == {Status.WAITING: 1}

    await bucket.write("mine", files=files[1:])
    await bucket.settle()
    assert await bucket.answers("mine")


async def test_what_changes_before_each_round_waits(bucket: Bucket) -> None:
    for seed in range(4):
        await bucket.write("mine", seed=seed)
        await bucket.sync.run_round()
    await assert_unknown(bucket, "mine")

    await bucket.sync.run_round()
    assert await bucket.answers("mine")
    assert len(bucket.world.engine.runs) == 1


async def test_a_broken_adapter_does_not_stop_the_others(bucket: Bucket) -> None:
    await bucket.write("a-broken", rank=4)
    await bucket.write("b-good", seed=1)

    await bucket.settle()

    assert await bucket.answers("b-good")
    assert bucket.statuses == {Status.READY: 1, Status.FAILED: 1}


@pytest.mark.parametrize("error", [EngineOverloaded("full"), RuntimeError("a bug")], ids=repr)
async def test_what_fails_is_tried_again_next_round(bucket: Bucket, error: Exception) -> None:
    await bucket.write("mine")
    bucket.world.engine.error = error
    await bucket.settle()
    assert bucket.sync.stats.outcomes == {Outcome.FAILED: 1}
    assert bucket.statuses == {Status.WAITING: 1}

    bucket.world.engine.error = None
    await bucket.sync.run_round()
    assert await bucket.answers("mine")


async def test_an_object_that_cannot_be_read_does_not_stop_the_others(
    bucket: Bucket, watched: WatchedStore
) -> None:
    source = await bucket.write("a", seed=1)
    await bucket.write("b", seed=2)
    watched.broken[f"{source}/{WEIGHTS_FILE}"] = StoreUnavailable("refused")

    await bucket.settle()

    assert await bucket.answers("b")
    assert bucket.sync.stats.outcomes == {Outcome.PUBLISHED: 1, Outcome.FAILED: 1}


async def test_a_listing_that_fails_is_not_taken_for_an_empty_one(
    bucket: Bucket, watched: WatchedStore
) -> None:
    await bucket.write("mine")
    await bucket.settle()
    rounds = bucket.sync.stats.rounds

    watched.broken[PREFIX] = StoreUnavailable("down")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await bucket.sync.run_round()

    assert await bucket.answers("mine")
    assert bucket.sync.stats.rounds == rounds


async def test_what_is_missing_once_stays_and_what_is_missing_twice_is_gone(
    bucket: Bucket,
) -> None:
    source = await bucket.write("mine")
    await bucket.settle()

    await bucket.remove(source)
    await bucket.sync.run_round()
    assert await bucket.answers("mine")

    await bucket.sync.run_round()
    await assert_unknown(bucket, "mine")
    await bucket.withdrawals.ended()
    assert await bucket.world.artifacts() == []
    assert bucket.world.host.known == {}
    assert bucket.statuses == {}


async def test_a_directory_that_lost_one_file_goes_on_serving(bucket: Bucket) -> None:
    source = await bucket.write("mine")
    await bucket.settle()

    await bucket.remove(source, (CONFIG_FILE,))
    await bucket.settle()

    assert await bucket.answers("mine")


async def test_a_restart_retires_nothing_at_its_first_look(bucket: Bucket, world: World) -> None:
    source = await bucket.write("mine")
    await bucket.settle()
    await bucket.remove(source)

    await bucket_of(world).sync.run_round()

    assert await bucket.answers("mine")


async def test_what_leads_to_no_adapter_is_counted_and_logged_once(bucket: Bucket) -> None:
    await bucket.put(f"{CONFIG_FILE}")
    await bucket.put(f"acme/mine/{CONFIG_FILE}")
    await bucket.write("mine", org="nobody")
    await bucket.write("mine", base_model="served/elsewhere")
    await bucket.write("mine")
    await bucket.write("mine", org=bucket.world.org_id)

    with capture_logs() as logs:
        await bucket.settle()

    assert bucket.sync.stats.ignored == {
        Ignored.PATH: 2,
        Ignored.ORGANIZATION: 1,
        Ignored.BASE_MODEL: 1,
        Ignored.DUPLICATE: 1,
    }
    told = [log["reason"] for log in logs if log["event"] == "bucket directories ignored"]
    assert sorted(told) == sorted([Ignored.PATH, Ignored.ORGANIZATION, Ignored.DUPLICATE])


async def test_an_organisation_made_later_gets_its_adapter(bucket: Bucket) -> None:
    await bucket.write("mine", org="late")
    await bucket.settle()
    assert bucket.sync.stats.ignored == {Ignored.ORGANIZATION: 1}

    async with bucket.world.database.sessions.begin() as session:
        org_id = await ensure_organization(session, "late", now=0)
    await bucket.settle()

    model = f"ft:{BASE}:{org_id}/mine"
    assert (await bucket.world.resolver.resolve(org_id, model)).version is not None


async def test_an_adapter_outlives_one_of_two_paths_to_it(bucket: Bucket) -> None:
    by_name = await bucket.write("mine")
    await bucket.write("mine", org=bucket.world.org_id)
    await bucket.settle()

    await bucket.remove(by_name)
    await bucket.settle()
    await bucket.settle()

    assert await bucket.answers("mine")


@pytest.fixture
async def late(bucket: Bucket) -> str:
    """The id of an organisation whose name is listed after its id."""
    async with bucket.world.database.sessions.begin() as session:
        return await ensure_organization(session, "team", now=0)


@pytest.mark.parametrize("files", [(CONFIG_FILE,), ARTIFACT_FILES], ids=["half", "whole"])
async def test_a_second_path_to_an_adapter_takes_nothing_from_the_first(
    bucket: Bucket, late: str, files: tuple[str, ...]
) -> None:
    await bucket.write("mine", org="team")
    await bucket.settle()

    await bucket.write("mine", org=late, seed=1, files=files)
    for _ in range(2):
        await bucket.settle()

    assert len(await bucket.world.service.all_of(late)) == 1
    assert bucket.statuses == {Status.READY: 1}
    assert bucket.sync.stats.ignored == {Ignored.DUPLICATE: 1}


async def test_of_two_new_paths_to_an_adapter_the_whole_one_counts(
    bucket: Bucket, late: str
) -> None:
    await bucket.write("mine", org=late, files=(CONFIG_FILE,))
    await bucket.write("mine", org="team")
    await bucket.settle()

    assert bucket.statuses == {Status.READY: 1}


async def test_a_bucket_without_any_object_is_taken_for_one_that_is_not_there(
    bucket: Bucket,
) -> None:
    source = await bucket.write("mine")
    await bucket.settle()

    await bucket.remove(source)
    await bucket.store.delete(f"{PREFIX}README")
    for _ in range(2):
        await bucket.settle()

    assert await bucket.answers("mine")
    assert bucket.sync.stats.ignored == {Ignored.BUCKET_EMPTY: 1}


async def test_a_bucket_that_comes_back_is_looked_at_twice_before_anything_is_retired(
    bucket: Bucket,
) -> None:
    source = await bucket.write("mine")
    await bucket.settle()
    await bucket.remove(source)
    await bucket.store.delete(f"{PREFIX}README")
    await bucket.settle()

    await bucket.keep()
    await bucket.sync.run_round()
    assert await bucket.answers("mine")

    await bucket.sync.run_round()
    await assert_unknown(bucket, "mine")


async def test_a_new_config_is_not_served_with_the_old_weights_while_the_new_are_written(
    world: World,
) -> None:
    at = 0.0
    bucket = bucket_of(world, clock=lambda: at)
    await bucket.write("mine", seed=1)
    await bucket.settle()
    old = await bucket.answers("mine")

    await bucket.write("mine", seed=2, files=(CONFIG_FILE,), lora_alpha=64)
    await bucket.settle()
    at += CONFIG_ALONE_SECONDS - 1
    await bucket.settle()
    assert await bucket.answers("mine") == old
    assert bucket.statuses == {Status.WAITING: 1}

    await bucket.write("mine", seed=2, files=(WEIGHTS_FILE,), lora_alpha=64)
    await bucket.settle()
    assert await bucket.answers("mine") != old
    assert len(world.engine.runs) == 2


async def test_a_new_config_that_stays_alone_is_served_in_the_end(world: World) -> None:
    at = 0.0
    bucket = bucket_of(world, clock=lambda: at)
    await bucket.write("mine")
    await bucket.settle()
    old = await bucket.answers("mine")

    await bucket.write("mine", files=(CONFIG_FILE,), lora_alpha=64)
    await bucket.settle()
    at += CONFIG_ALONE_SECONDS
    await bucket.settle()

    assert await bucket.answers("mine") != old


async def test_a_base_model_on_which_all_hangs_keeps_no_other_waiting(
    world: World, watched: WatchedStore
) -> None:
    slow = ScriptedEngine(RecordingHost(4, slots=2, shapes=SHAPES))
    bucket = bucket_of(world, store=watched, engines={"a-slow": slow, BASE: world.engine})
    for seed in range(4):
        await bucket.write(f"slow-{seed}", seed=seed, base_model="a-slow")
    await bucket.write("mine")
    await bucket.sync.run_round()
    end = asyncio.Event()

    async def hang(key: str) -> None:
        if "a-slow" in key:
            await end.wait()

    watched.on_get = hang
    working = asyncio.create_task(bucket.sync.run_round())
    await until(lambda: bucket.statuses == {Status.READY: 1})
    assert await bucket.answers("mine")
    assert not working.done()

    end.set()
    await working


async def test_a_replica_whose_engine_is_dead_leaves_the_bucket_to_others(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bucket.write("mine")

    async def dead() -> None:
        raise EngineDead("gone")

    monkeypatch.setattr(bucket.world.engine, "check", dead)
    await bucket.settle()

    assert bucket.sync.stats.rounds == 0
    assert bucket.sync.stats.finished_at == 0.0


async def test_adapters_synced_under_another_prefix_stay(bucket: Bucket, world: World) -> None:
    await bucket.write("mine")
    await bucket.settle()

    elsewhere = bucket_of(world, prefix="other/")
    await elsewhere.settle()

    assert await bucket.answers("mine")


async def test_a_round_that_is_cancelled_can_be_repeated(bucket: Bucket) -> None:
    await bucket.write("mine")
    await bucket.sync.run_round()
    bucket.world.host.open.clear()
    running = asyncio.create_task(bucket.sync.run_round())
    await until(lambda: bucket.world.host.loads)

    running.cancel()
    bucket.world.host.open.set()
    await asyncio.gather(running, return_exceptions=True)
    await assert_unknown(bucket, "mine")

    await bucket.settle()
    assert await bucket.answers("mine")
