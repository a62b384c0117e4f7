"""Rounds of the bucket sync over a real database, store, cache and registry."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from adapters_registry.errors import StoreUnavailable
from adapters_registry.testing import until
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE
from app.adapters.bucket_actions import Outcome
from app.adapters.bucket_sync import Ignored, Status
from app.auth.repository import ensure_organization
from app.engine.base import EngineDead, EngineOverloaded
from tests.app.adapters.bucket import PREFIX, Bucket, WatchedStore, assert_unknown, bucket_of
from tests.app.adapters.world import BASE, World


@pytest.fixture
def watched(world: World) -> WatchedStore:
    return WatchedStore(world.store)


@pytest.fixture
async def bucket(world: World, watched: WatchedStore) -> AsyncIterator[Bucket]:
    made = bucket_of(world, store=watched)
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
    assert len(bucket.world.engine.jobs) == 1


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
    assert len(bucket.world.engine.jobs) == 1


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
