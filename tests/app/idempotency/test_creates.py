"""One key, one object: in parallel, after failures, across replicas, and after crashes."""

import asyncio
from collections.abc import Awaitable

import pytest

from app.errors import ApiError
from app.idempotency import creates
from app.idempotency.claim import KeyClaim
from app.idempotency.request import CreateRequest
from tests.app.idempotency.conftest import Resource
from tests.app.idempotency.faults import cancel_at, cancel_in_statement, dead_from


async def refusal(operation: Awaitable[object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await operation
    return caught.value


async def running(resource: Resource, content: str = "a") -> asyncio.Task[str]:
    """Start a create that stops in the middle until `gate` is set."""
    resource.begun.clear()
    resource.gate.clear()
    task = asyncio.create_task(resource.create(content))
    await resource.begun.wait()
    return task


async def test_without_a_key_every_request_creates(resource: Resource) -> None:
    ids = [await resource.create(key=None) for _ in range(3)]
    assert len(set(ids)) == 3
    assert await resource.keys() == 0


async def test_a_repeated_request_finds_what_the_first_has_made(resource: Resource) -> None:
    assert await resource.create() == await resource.create()
    assert len(await resource.rows()) == 1


async def test_many_at_once_on_two_replicas_make_one(resource: Resource, replica: Resource) -> None:
    ids = await asyncio.gather(*(side.create() for side in [resource, replica] * 25))
    assert await resource.rows() == list(set(ids))


async def test_another_key_makes_another(resource: Resource) -> None:
    ids = await asyncio.gather(*(resource.create(key=key) for key in ("a", "A", "a b")))
    assert len(set(ids)) == 3


async def test_keys_of_two_organisations_never_meet(resource: Resource, theirs: str) -> None:
    one, two = await resource.create("a"), await resource.create("b", org_id=theirs)
    assert one != two
    assert await resource.create("b", org_id=theirs) == two


async def test_another_request_under_the_key_is_refused_for_good(resource: Resource) -> None:
    await resource.create("a")
    error = await refusal(resource.create("b"))
    assert (error.status, error.code) == (409, "idempotency_key_reused")
    assert error.headers == {"x-should-retry": "false"}
    assert "new key" in error.message
    assert len(await resource.rows()) == 1


async def test_another_request_under_a_key_in_use_is_refused_at_once(resource: Resource) -> None:
    first = await running(resource, "a")
    assert (await refusal(resource.create("b"))).code == "idempotency_key_reused"
    resource.gate.set()
    await first


async def test_a_second_request_waits_for_the_first_and_answers_like_it(
    resource: Resource, replica: Resource
) -> None:
    first = await running(resource)
    others = [asyncio.create_task(side.create()) for side in (resource, replica)]
    done, _ = await asyncio.wait(others, timeout=0.05)
    assert not done
    resource.gate.set()
    assert set(await asyncio.gather(*others)) == {await first}
    assert not replica.begun.is_set()


async def test_a_wait_is_bounded_and_its_end_may_be_retried(resource: Resource) -> None:
    resource.wait(0.01)
    first = await running(resource)
    error = await refusal(resource.create())
    assert (error.status, error.code) == (409, "idempotency_key_in_use")
    assert error.headers == {"retry-after": "1"}
    resource.gate.set()
    assert [await first] == [await resource.create()]


async def test_a_waiter_that_is_cancelled_ends_at_once_and_disturbs_nobody(
    resource: Resource,
) -> None:
    first = await running(resource)
    second = asyncio.create_task(resource.create())
    await asyncio.wait([second], timeout=0.05)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    resource.gate.set()
    assert [await first] == await resource.rows()


async def test_a_failure_frees_the_key_for_any_request(resource: Resource) -> None:
    resource.error = ApiError(503, "later")
    assert (await refusal(resource.create("a"))).status == 503
    assert await resource.keys() == 0
    resource.error = None
    await resource.create("b")


async def test_after_a_failure_a_waiter_creates_without_delay(resource: Resource) -> None:
    resource.error = RuntimeError("broken")
    first = await running(resource)
    second = asyncio.create_task(resource.create())
    await asyncio.wait([second], timeout=0.05)
    resource.gate.set()
    with pytest.raises(RuntimeError):
        await first
    resource.error = None
    assert [await second] == await resource.rows()


async def test_an_owner_that_died_is_taken_over_after_its_lease(
    resource: Resource, replica: Resource
) -> None:
    replica.wait(0.01)
    first = await running(resource)
    assert (await refusal(replica.create())).code == "idempotency_key_in_use"
    await replica.expire_leases()

    id = await replica.create()

    resource.gate.set()
    error = await refusal(first)
    assert error.code == "idempotency_key_in_use"
    assert await resource.rows() == [id] == [await resource.create()]


async def test_an_owner_that_was_taken_over_cannot_free_its_successor_s_key(
    resource: Resource, replica: Resource
) -> None:
    first = await running(resource)
    await replica.expire_leases()
    second = await running(replica)
    resource.error = RuntimeError("broken")
    resource.gate.set()
    with pytest.raises(RuntimeError):
        await first
    replica.gate.set()
    assert [await second] == [await resource.create()]


async def test_a_running_owner_keeps_its_lease(
    resource: Resource, replica: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creates, "LEASE_SECONDS", 0.03)
    first = await running(resource)
    await replica.expire_leases()
    query = "SELECT 1 FROM idempotency_keys WHERE claimed_until > 1"
    async with asyncio.timeout(10), replica.database.engine.connect() as connection:
        while not (await connection.exec_driver_sql(query)).first():
            await connection.rollback()
            await asyncio.sleep(0.005)
    replica.wait(0)
    assert (await refusal(replica.create())).code == "idempotency_key_in_use"
    resource.gate.set()
    await first


async def test_a_lease_that_cannot_be_extended_does_not_end_the_work(
    resource: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creates, "LEASE_SECONDS", 0.003)
    first = await running(resource)
    failures = asyncio.Semaphore(0)
    with dead_from(1, resource.database, on_failure=failures.release):
        async with asyncio.timeout(10):
            await failures.acquire()
            await failures.acquire()
    resource.gate.set()
    assert [await first] == await resource.rows()


async def test_what_was_deleted_since_is_not_made_again(resource: Resource) -> None:
    id = await resource.create()
    await resource.execute("DELETE FROM files")
    error = await refusal(resource.create())
    assert (error.status, error.code) == (409, "idempotency_key_object_deleted")
    assert error.headers == {"x-should-retry": "false"}
    assert id in error.message
    assert await resource.rows() == []


async def test_nothing_is_kept_in_memory_of_requests_that_have_ended(resource: Resource) -> None:
    await asyncio.gather(*(resource.create(key=str(number)) for number in range(20)))
    assert not resource.creates._running


@pytest.mark.parametrize("in_statement", [False, True])
async def test_a_cancellation_at_any_step_leaves_a_key_that_works_at_once(
    resource: Resource, in_statement: bool
) -> None:
    resource.wait(0)
    step, has_come = 0, True
    while has_come:
        step += 1
        work = resource.create(key=f"key {step}")
        if in_statement:
            has_come = await cancel_in_statement(step, resource.database, work)
        else:
            has_come = await cancel_at(step, work)
        made = await resource.rows()
        id = await resource.create(key=f"key {step}")
        assert await resource.rows() == [id], step
        assert made in ([], [id])
        await resource.execute("DELETE FROM files")
    assert step > 5


async def test_a_crash_at_any_statement_or_commit_leaves_one_object_after_the_retry(
    resource: Resource, replica: Resource
) -> None:
    step, has_come = 0, True
    while has_come:
        step += 1
        key = f"key {step}"
        with dead_from(step, resource.database) as taken:
            (outcome,) = await asyncio.gather(resource.create(key=key), return_exceptions=True)
        has_come = len(taken) >= step
        assert isinstance(outcome, str) or has_come
        await replica.expire_leases()
        id = await replica.create(key=key)
        assert await replica.rows() == [id], step
        await replica.execute("DELETE FROM files")
    assert step > 5


async def test_of_two_that_find_a_key_abandoned_one_takes_it(
    resource: Resource, replica: Resource
) -> None:
    for number in range(10):
        key = f"key {number}"
        request = CreateRequest.of(resource.org_id, key, "POST /rows", "a")
        assert await KeyClaim(resource.database.sessions, request).take()
        await replica.expire_leases()
        sides = (resource.create(key=key), replica.create(key=key))
        one, two = await asyncio.gather(*sides)
        assert one == two


async def test_an_unknown_organisation_leaves_no_key(resource: Resource) -> None:
    (outcome,) = await asyncio.gather(resource.create(org_id="org_x"), return_exceptions=True)
    assert isinstance(outcome, Exception)
    assert await resource.keys() == 0
