"""What becomes of one directory of the bucket: published, refused, put off or retired."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import delete, func, select

from adapters_registry.errors import AdapterLoadFailed
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE
from app.adapters.bucket_actions import Outcome
from app.adapters.bucket_sync import Status
from app.db.tables import BucketAdapterRow, FineTuningRow
from tests.app.adapters.bucket import Bucket, WatchedStore, assert_unknown, bucket_of
from tests.app.adapters.world import BASE, World


@pytest.fixture
def watched(world: World) -> WatchedStore:
    return WatchedStore(world.store)


@pytest.fixture
async def bucket(world: World, watched: WatchedStore) -> AsyncIterator[Bucket]:
    made = bucket_of(world, store=watched)
    await made.keep()
    yield made
    await made.withdrawals.close()


async def versions(world: World) -> int:
    async with world.database.sessions() as session:
        return await session.scalar(select(func.count()).select_from(FineTuningRow)) or 0


async def test_new_content_moves_the_alias_and_leaves_the_old_id(bucket: Bucket) -> None:
    await bucket.write("mine", seed=1)
    await bucket.settle()
    old = await bucket.answers("mine")

    await bucket.write("mine", seed=2)
    await bucket.settle()

    assert await bucket.answers("mine") != old
    assert await bucket.world.resolves(old) == old


async def test_a_refusal_is_kept_and_not_tried_again(bucket: Bucket, watched: WatchedStore) -> None:
    await bucket.write("broken", rank=4)
    await bucket.settle()
    assert await bucket.verdicts() == {"broken": ("rank_unsupported", "r")}
    assert bucket.statuses == {Status.FAILED: 1}

    watched.gets.clear()
    await bucket.settle()
    assert watched.gets == []
    assert bucket.statuses == {Status.FAILED: 1}


async def test_a_repaired_adapter_has_no_verdict_any_more(bucket: Bucket) -> None:
    await bucket.write("mine", rank=4)
    await bucket.settle()

    await bucket.write("mine")
    await bucket.settle()

    assert await bucket.verdicts() == {}
    assert await bucket.answers("mine")


async def test_a_second_refusal_is_shown_under_the_id_of_the_first(bucket: Bucket) -> None:
    await bucket.write("mine", rank=4)
    await bucket.settle()
    (first,) = await bucket.world.service.refused_of(bucket.world.org_id)

    await bucket.write("mine", lora_alpha=-1)
    await bucket.settle()

    (second,) = await bucket.world.service.refused_of(bucket.world.org_id)
    assert second.id == first.id
    assert second.param == "lora_alpha"


async def test_what_was_good_before_a_refusal_goes_on_serving(bucket: Bucket) -> None:
    await bucket.write("mine")
    await bucket.settle()
    good = await bucket.answers("mine")

    await bucket.write("mine", rank=4)
    await bucket.settle()

    assert await bucket.answers("mine") == good
    assert list(await bucket.verdicts()) == ["mine"]


@pytest.mark.parametrize("name", ["Upper", "a_b", "v-0123456789ab", "x" * 64])
async def test_a_name_that_no_adapter_may_have_is_refused(bucket: Bucket, name: str) -> None:
    await bucket.write(name)
    await bucket.settle()

    assert await bucket.verdicts() == {name: ("name_invalid", "name")}


async def test_what_is_too_large_is_refused_without_being_copied(
    bucket: Bucket, watched: WatchedStore
) -> None:
    await bucket.put(f"acme/{BASE}/large/{CONFIG_FILE}")
    await bucket.put(f"acme/{BASE}/large/{WEIGHTS_FILE}", bytes(1 << 20))
    await bucket.settle()

    assert await bucket.verdicts() == {"large": ("too_large", None)}
    assert watched.gets == []


async def test_a_verdict_may_name_a_tensor_with_the_longest_name(bucket: Bucket) -> None:
    name = "b" * 512
    header = b'{"%s": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}' % name.encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(4)
    await bucket.put(f"acme/{BASE}/mine/{CONFIG_FILE}", b'{"r": 8, "lora_alpha": 16}')
    await bucket.put(f"acme/{BASE}/mine/{WEIGHTS_FILE}", weights)

    await bucket.settle()

    assert await bucket.verdicts() == {"mine": ("tensor_name", name)}


async def test_content_that_changes_while_it_is_copied_has_no_effect(
    bucket: Bucket, watched: WatchedStore
) -> None:
    await bucket.write("mine", seed=1)
    await bucket.sync.run_round()

    async def overwrite(key: str) -> None:
        watched.on_get = None
        await bucket.write("mine", seed=2, lora_alpha=32)

    watched.on_get = overwrite
    await bucket.sync.run_round()
    assert bucket.sync.stats.outcomes == {Outcome.CHANGED: 1}
    assert bucket.statuses == {Status.WAITING: 1}
    await assert_unknown(bucket, "mine")

    await bucket.settle()
    assert await bucket.answers("mine")
    assert await versions(bucket.world) == 1


async def test_content_broken_by_a_change_while_it_is_copied_gets_no_verdict(
    bucket: Bucket, watched: WatchedStore
) -> None:
    await bucket.write("mine", rank=8)
    await bucket.sync.run_round()

    async def overwrite(key: str) -> None:
        watched.on_get = None
        await bucket.write("mine", rank=4)

    watched.on_get = overwrite
    await bucket.sync.run_round()

    assert await bucket.verdicts() == {}


async def test_content_removed_while_it_is_copied_is_no_failure(
    bucket: Bucket, watched: WatchedStore
) -> None:
    source = await bucket.write("mine")
    await bucket.sync.run_round()

    async def remove(key: str) -> None:
        watched.on_get = None
        await bucket.remove(source)

    watched.on_get = remove
    await bucket.sync.run_round()

    assert bucket.sync.stats.outcomes == {Outcome.CHANGED: 1}


async def test_all_versions_of_a_removed_directory_go(bucket: Bucket) -> None:
    for seed in (1, 2):
        source = await bucket.write("mine", seed=seed)
        await bucket.settle()
    assert await versions(bucket.world) == 2

    await bucket.remove(source)
    await bucket.settle()

    assert await versions(bucket.world) == 0


async def test_a_removed_refusal_is_forgotten(bucket: Bucket) -> None:
    source = await bucket.write("mine", rank=4)
    await bucket.settle()

    await bucket.remove(source)
    await bucket.settle()

    assert await bucket.verdicts() == {}


async def test_content_that_was_uploaded_is_activated_and_outlives_the_directory(
    bucket: Bucket,
) -> None:
    uploaded = await bucket.world.register(await bucket.world.upload(seed=1))
    await bucket.world.register(await bucket.world.upload(seed=2))

    source = await bucket.write("mine", seed=1)
    await bucket.settle()
    assert await bucket.answers("mine") == uploaded

    await bucket.remove(source)
    await bucket.settle()
    assert await bucket.answers("mine") == uploaded


async def test_a_version_deleted_by_its_owner_stays_so_until_its_directory_changes(
    bucket: Bucket,
) -> None:
    await bucket.write("mine", seed=1)
    await bucket.settle()
    await bucket.world.delete(await bucket.answers("mine"))

    await bucket.settle()
    await assert_unknown(bucket, "mine")
    assert bucket.statuses == {Status.DELETED: 1}

    await bucket.write("mine", seed=2)
    await bucket.settle()
    assert await bucket.answers("mine")


async def test_an_older_version_does_not_make_a_deleted_one_count_as_ready(bucket: Bucket) -> None:
    for seed in (1, 2):
        await bucket.write("mine", seed=seed)
        await bucket.settle()

    await bucket.world.delete(await bucket.answers("mine"))
    await bucket.settle()

    assert await bucket.answers("mine")
    assert bucket.statuses == {Status.DELETED: 1}


async def test_an_upload_of_the_same_content_counts_as_ready(bucket: Bucket) -> None:
    await bucket.world.register(await bucket.world.upload(seed=1))

    await bucket.write("mine", seed=1)
    await bucket.settle()
    await bucket.settle()

    assert bucket.statuses == {Status.READY: 1}


async def test_a_deleted_version_is_back_once_its_directory_was_gone(bucket: Bucket) -> None:
    source = await bucket.write("mine", seed=1)
    await bucket.settle()
    await bucket.world.delete(await bucket.answers("mine"))

    await bucket.remove(source)
    await bucket.settle()
    await bucket.write("mine", seed=1)
    await bucket.settle()

    assert await bucket.answers("mine")


async def test_a_refusal_by_the_engine_is_shown_and_tried_again(bucket: Bucket) -> None:
    host = bucket.world.host
    host.load_error = AdapterLoadFailed("0" * 64)
    await bucket.write("mine")
    await bucket.settle()
    await bucket.sync.run_round()
    assert await bucket.verdicts() == {"mine": ("load_failed", "file")}
    assert bucket.statuses == {Status.FAILED: 1}

    host.load_error = None
    host.known.clear()
    await bucket.settle()

    assert await bucket.answers("mine")
    assert await bucket.verdicts() == {}


async def test_a_new_process_with_other_settings_takes_what_an_earlier_one_refused(
    bucket: Bucket, watched: WatchedStore
) -> None:
    strict = bucket_of(bucket.world, store=watched, max_bytes=10)
    await strict.write("mine")
    await strict.settle()
    assert await bucket.verdicts() == {"mine": ("too_large", None)}

    await bucket.sync.run_round()

    assert await bucket.answers("mine")


async def test_a_request_that_runs_long_holds_up_no_round(bucket: Bucket) -> None:
    source = await bucket.write("mine")
    await bucket.settle()
    alias = f"ft:{BASE}:{bucket.world.org_id}/mine"
    resolved = await bucket.world.resolver.resolve(bucket.world.org_id, alias)
    assert resolved.version is not None

    async with bucket.world.registry.lease(resolved.version):
        await bucket.remove(source)
        async with asyncio.timeout(10):
            for _ in range(2):
                await bucket.sync.run_round()
        await assert_unknown(bucket, "mine")
        assert len(bucket.world.host.known) == 1

    await bucket.withdrawals.ended()
    assert bucket.world.host.known == {}


async def forget_row(bucket: Bucket) -> None:
    """Leave what a crash leaves between a registration and the note about it."""
    async with bucket.world.database.sessions.begin() as session:
        await session.execute(delete(BucketAdapterRow))


async def test_a_crash_after_a_registration_is_made_good(bucket: Bucket) -> None:
    await bucket.write("mine")
    await bucket.settle()
    await forget_row(bucket)

    await bucket.settle()

    assert await versions(bucket.world) == 1
    assert len(bucket.world.engine.runs) == 1
    assert bucket.statuses == {Status.READY: 1}


async def test_a_directory_removed_after_a_crash_leaves_nothing(bucket: Bucket) -> None:
    source = await bucket.write("mine")
    await bucket.settle()
    await forget_row(bucket)

    await bucket.remove(source)
    await bucket.settle()

    await assert_unknown(bucket, "mine")
