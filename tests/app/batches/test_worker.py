"""Batches from their creation to their end, by one process or several."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest

from app.auth.authenticator import Caller
from app.batches import chunk_run, step_work
from app.batches.worker import BEAT, CLOSE_SECONDS, LOOK
from app.errors import ApiError
from app.inference.context import RequestContext
from app.inference.spare import Displaced
from app.usage.types import Account
from tests.app.batches.farm import Farm, line, lines, until
from tests.app.batches.processes import BASE, FixedCapacity, answer_all
from tests.app.usage.entries import stored
from tests.fixtures.databases import add_organization


class Gate:
    """Holds lines back until it is opened; `reached` is set when one has come."""

    def __init__(self, *held: str) -> None:
        self.held = held
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, context: RequestContext, body: Mapping[str, Any]) -> bytes:
        name = body["messages"][0]["content"]
        if not self.held or name in self.held:
            self.reached.set()
            await self.open.wait()
        return await answer_all(context, body)


async def when_saved(farm: Farm, batch_id: str, count: int) -> None:
    """Wait until so many lines' results are in the database."""

    async def is_saved() -> bool:
        return await farm.saved(batch_id) >= count

    await until(is_saved)


async def test_a_batch_is_completed_with_its_results_in_the_order_of_its_lines(farm: Farm) -> None:
    asked = [*lines(10), line("bad", do="refuse"), line("bug", do="fail")]
    batch_id = await farm.add(asked)
    process = await farm.work_off(batch_id)
    await farm.check(batch_id, asked)
    row = await farm.row(batch_id)
    assert (row.status, row.total, row.completed, row.failed) == ("completed", 12, 10, 2)
    assert None not in (row.in_progress_at, row.finalizing_at, row.completed_at)
    assert process.observed.ended == 12
    assert await farm.objects(batch_id) == []


async def test_all_work_that_may_fail_is_told_of_from_the_start(farm: Farm) -> None:
    process = farm.process()
    async with farm.working(process):
        assert process.observed.begun == {LOOK, BEAT, step_work.TASK, chunk_run.TASK}


async def test_answers_and_refusals_are_told_as_http_would_tell_them(farm: Farm) -> None:
    batch_id = await farm.add([line("good"), line("bad", do="refuse")])
    process = await farm.work_off(batch_id)
    [good], [bad] = await farm.results(batch_id)
    ids = {
        body["do"]: context.id for context, body in zip(process.asked, process.bodies, strict=True)
    }
    assert good["id"].startswith("batch_req_")
    assert good["error"] is bad["error"] is None
    assert good["response"] == {
        "status_code": 200,
        "request_id": ids["answer"],
        "body": {"object": "answer", "model": "base"},
    }
    assert bad["response"]["status_code"] == 400
    assert bad["response"]["body"]["error"]["message"] == "refused"
    assert bad["response"]["request_id"] == ids["refuse"]


async def test_a_file_without_lines_is_not_made(farm: Farm) -> None:
    all_good, all_bad = await farm.add(lines(4)), await farm.add(lines(4, do="refuse"))
    process = farm.process()
    async with farm.working(process):
        await farm.ended(all_good, all_bad)
    assert (await farm.row(all_good)).error_file_id is None
    assert (await farm.row(all_bad)).output_file_id is None
    await farm.check(all_good, lines(4))
    await farm.check(all_bad, lines(4))


async def test_a_batch_with_a_bad_line_fails_before_any_is_asked(farm: Farm) -> None:
    batch_id = await farm.add([*lines(3), {"custom_id": "x"}])
    process = await farm.work_off(batch_id)
    row = await farm.row(batch_id)
    assert (row.status, row.total, process.asked) == ("failed", 0, [])
    assert row.errors is not None
    assert row.failed_at is not None
    assert '"line": 4' in row.errors


async def test_lines_of_models_that_are_not_served_are_asked_all_the_same(farm: Farm) -> None:
    asked = lines(5, model="unknown")
    batch_id = await farm.add(asked)
    await farm.work_off(batch_id)
    await farm.check(batch_id, asked)


async def test_a_line_is_asked_as_by_the_batch_s_key_at_the_batch_tier(farm: Farm) -> None:
    process = await farm.work_off(await farm.add(lines(1), key_id="key_1"))
    [context] = process.asked
    assert (context.caller, context.is_batch) == (Caller(farm.org_id, "key_1"), True)


async def test_lines_are_charged_to_the_key_of_their_batch(farm: Farm) -> None:
    """Of a key only the name is needed: it may be gone, and old batches have none."""
    keys = {"key_1": 3, "key_that_is_gone": 2, None: 1}
    batches = [await farm.add(lines(count), key_id=key) for key, count in keys.items()]
    process = farm.process()
    async with farm.working(process):
        await farm.ended(*batches)
    sums = await stored(farm.database)
    used = {entry.account: amounts.requests for entry, amounts in sums.items()}
    assert used == {
        Account(farm.org_id, key or "", BASE, "", True): count for key, count in keys.items()
    }


async def test_a_cancelled_batch_keeps_what_is_finished(farm: Farm) -> None:
    asked = lines(9)
    batch_id = await farm.add(asked)
    gate = Gate("line-0004", "line-0008")
    process = farm.process(act=gate, lease_seconds=3, checkpoint_seconds=0.01)
    async with farm.working(process):
        await when_saved(farm, batch_id, 7)
        await farm.change(batch_id, status="cancelling", cancelling_at=1)
        await farm.ended(batch_id)
    await farm.check(batch_id, asked)
    row = await farm.row(batch_id)
    assert (row.status, row.completed, row.failed) == ("cancelled", 7, 2)
    assert (row.cancelled_at is None, row.finalizing_at) == (False, None)
    _, errors = await farm.results(batch_id)
    assert {error["error"]["code"] for error in errors} == {"batch_cancelled"}
    assert all(error["response"] is None for error in errors)


async def test_an_expired_batch_keeps_what_is_finished(farm: Farm) -> None:
    asked = lines(9)
    batch_id = await farm.add(asked)
    process = farm.process(act=Gate("line-0004"), lease_seconds=3)
    async with farm.working(process):
        await when_saved(farm, batch_id, 6)
        await farm.change(batch_id, expires_at=1)
        await farm.ended(batch_id)
    await farm.check(batch_id, asked)
    row = await farm.row(batch_id)
    assert (row.status, row.completed, row.failed) == ("expired", 8, 1)
    _, [error] = await farm.results(batch_id)
    assert error["error"]["code"] == "batch_expired"


async def test_a_batch_that_is_cancelled_before_it_is_validated_ends_without_files(
    farm: Farm,
) -> None:
    batch_id = await farm.add(lines(3), status="cancelling")
    await farm.work_off(batch_id)
    row = await farm.row(batch_id)
    assert (row.status, row.output_file_id, row.error_file_id) == ("cancelled", None, None)


async def test_a_process_that_closes_gives_back_with_what_is_finished(farm: Farm) -> None:
    asked = lines(6)
    batch_id = await farm.add(asked)
    gate = Gate("line-0001", "line-0003")
    process = farm.process(act=gate)
    async with farm.working(process):
        await until(lambda: process.observed.ended == 4)
        began = time.monotonic()
    assert time.monotonic() - began < CLOSE_SECONDS
    first, second = await farm.chunks(batch_id)
    for chunk in (first, second):
        assert (chunk.state, chunk.token, chunk.attempts) == ("queued", None, 0)
        assert chunk.completed == 2
    another = await farm.work_off(batch_id)
    assert another.observed.ended == 2
    await farm.check(batch_id, asked)


async def test_what_a_process_writes_that_was_stopped_past_its_lease_is_refused(
    farm: Farm,
) -> None:
    asked = lines(3)
    batch_id = await farm.add(asked)
    gate = Gate()
    stopped = farm.process(act=gate)
    async with farm.working(stopped):
        await gate.reached.wait()
        stopped.fate.hold()
        gate.open.set()
        await farm.end_leases()
        another = farm.process()
        async with farm.working(another):
            await farm.ended(batch_id)
        before = await farm.results(batch_id)
        stopped.fate.is_free.set()
        for _ in range(1000):
            stopped.fate.go_on()
    assert another.observed.ended == stopped.observed.ended == 3
    assert await farm.results(batch_id) == before
    await farm.check(batch_id, asked)


async def test_a_process_that_hears_its_chunk_is_lost_ends_its_lines(farm: Farm) -> None:
    batch_id = await farm.add(lines(3))
    gate = Gate()
    process = farm.process(act=gate, lease_seconds=3)
    async with farm.working(process):
        await gate.reached.wait()
        await farm.change_chunks(batch_id, token="another's", leased_until=1 << 40)
        await until(lambda: not process.running)
        assert process.observed.lost == 1
        [chunk] = await farm.chunks(batch_id)
        assert (chunk.token, chunk.parts) == ("another's", "[]")


async def test_a_lease_is_kept_for_as_long_as_a_line_runs(farm: Farm) -> None:
    batch_id = await farm.add(lines(3))
    gate = Gate()
    process, another = farm.process(act=gate, lease_seconds=3), farm.process()
    async with farm.working(process):
        await gate.reached.wait()
        [before] = await farm.chunks(batch_id)

        async def is_renewed() -> bool:
            return (await farm.chunks(batch_id))[0].leased_until > before.leased_until

        async with farm.working(another):
            await until(is_renewed)
            gate.open.set()
            await farm.ended(batch_id)
    assert len(process.asked) + len(another.asked) == 3


async def test_processes_share_a_batch(farm: Farm) -> None:
    asked = lines(30)
    batch_id = await farm.add(asked)
    one, other = (farm.process(capacity=FixedCapacity(lines=3)) for _ in range(2))

    async def both(context: RequestContext, body: Mapping[str, Any]) -> bytes:
        await until(lambda: one.asked and other.asked)
        return await answer_all(context, body)

    one.act = other.act = both
    async with farm.working(one, other):
        await farm.ended(batch_id)
    assert one.observed.ended + other.observed.ended == 30
    await farm.check(batch_id, asked)


async def test_no_more_lines_are_on_their_way_than_there_is_room_for(farm: Farm) -> None:
    batch_id = await farm.add(lines(30))

    async def briefly(context: RequestContext, body: Mapping[str, Any]) -> bytes:
        await asyncio.sleep(0.02)
        return await answer_all(context, body)

    process = await farm.work_off(batch_id, act=briefly, capacity=FixedCapacity(lines=5))
    assert process.most_running == 5


async def test_the_next_chunk_starts_before_the_last_line_of_another_has_ended(farm: Farm) -> None:
    asked = lines(12)
    batch_id = await farm.add(asked)
    gate = Gate("line-0000")
    process = farm.process(act=gate, capacity=FixedCapacity(lines=3), poll_seconds=5)
    async with farm.working(process):
        await until(lambda: process.observed.ended == 11)
        gate.open.set()
        await farm.ended(batch_id)
    await farm.check(batch_id, asked)


async def test_an_organisation_with_few_lines_does_not_wait_for_one_with_many(farm: Farm) -> None:
    globex = await add_organization(farm.database, "globex")
    many = await farm.add(lines(90))
    gate = Gate(*(each["custom_id"] for each in lines(90)))
    process = farm.process(act=gate, capacity=FixedCapacity(lines=4))
    async with farm.working(process):
        await gate.reached.wait()
        few = await farm.add([line("few")], org_id=globex)
        await until(
            lambda: len({run.held.org_id for run in process.worker._chunks.runs.values()}) == 2
        )
        gate.open.set()
        await farm.ended(few, many)
    order = [context.caller.org_id for context in process.asked]
    assert order.index(globex) <= 20


async def test_no_more_adapters_are_asked_at_once_than_there_are_slots(farm: Farm) -> None:
    ids = [f"ft:base:{farm.org_id}/pirate-{number:012x}" for number in range(5)]
    asked = [line(f"{id}/{each}", model=id) for id in ids for each in range(6)]
    batch_id = await farm.add(asked)
    at_once: set[frozenset[str]] = set()
    running: list[str] = []

    async def note(context: RequestContext, body: Mapping[str, Any]) -> bytes:
        running.append(body["model"])
        at_once.add(frozenset(running))
        await asyncio.sleep(0.1)
        running.remove(body["model"])
        return await answer_all(context, body)

    capacity = FixedCapacity(lines=100, adapters=2)
    await farm.work_off(batch_id, act=note, capacity=capacity)
    assert max(map(len, at_once)) == 2
    await farm.check(batch_id, asked)


async def test_answers_that_are_not_final_are_asked_for_again_as_the_same_request(
    farm: Farm,
) -> None:
    refusals = [
        ApiError(503, "no room"),
        ApiError(429, "limit"),
        ApiError(498, "flex"),
        Displaced(),
    ]
    batch_id = await farm.add(lines(1))

    async def later(context: RequestContext, body: Mapping[str, Any]) -> bytes:
        if refusals:
            raise refusals.pop()
        return await answer_all(context, body)

    process = await farm.work_off(batch_id, act=later)
    assert process.observed.retried == 4
    assert len(process.asked) == 5
    assert len({context.id for context in process.asked}) == 1
    assert (await farm.row(batch_id)).completed == 1


async def test_errors_that_ask_not_to_be_tried_again_are_final(farm: Farm) -> None:
    batch_id = await farm.add(lines(1))

    async def broken(context: RequestContext, body: Mapping[str, Any]) -> bytes:
        raise ApiError(503, "cannot be used", headers={"x-should-retry": "false"})

    process = await farm.work_off(batch_id, act=broken)
    assert (len(process.asked), (await farm.row(batch_id)).failed) == (1, 1)


async def test_an_internal_error_is_asked_for_three_times(farm: Farm) -> None:
    batch_id = await farm.add(lines(1, do="fail"))
    process = await farm.work_off(batch_id)
    assert len(process.asked) == 3
    _, [error] = await farm.results(batch_id)
    assert error["response"]["status_code"] == 500
    assert "bug" not in str(error)


async def test_models_that_are_down_are_waited_for(farm: Farm) -> None:
    batch_id = await farm.add(lines(3))
    process = farm.process()
    process.capacity.up = False
    async with farm.working(process):
        await until(lambda: farm.chunks(batch_id))
        await asyncio.sleep(0.05)
        assert (await farm.chunks(batch_id))[0].attempts == 0
        process.capacity.up = True
        await farm.ended(batch_id)
    await farm.check(batch_id, lines(3))


async def test_a_result_that_fails_to_be_kept_on_disk_is_asked_for_again(farm: Farm) -> None:
    batch_id = await farm.add(lines(3))
    process = farm.process()
    breaks = iter([True])

    async def break_disk(context: RequestContext, body: Mapping[str, Any]) -> bytes:
        if next(breaks, False):
            [directory] = farm.work_dir.glob("batch-*")
            directory.rmdir()
        return await answer_all(context, body)

    process.act = break_disk
    async with farm.working(process):
        await farm.ended(batch_id)
    await farm.check(batch_id, lines(3))
    assert (await farm.row(batch_id)).completed == 3


@pytest.mark.parametrize("status", ["validating", "finalizing"])
async def test_what_nobody_expects_ends_a_batch_after_some_attempts(
    farm: Farm, status: str
) -> None:
    batch_id = await farm.add(lines(3), status=status)
    process = farm.process()

    class Broken:
        async def run(self, step: object) -> Any:
            raise RuntimeError("a bug")

        async def tidy(self, step: object) -> None: ...

    process.worker._steps._validator = Broken()
    process.worker._steps._finalizer = Broken()
    async with farm.working(process):
        while (await farm.row(batch_id)).status != "failed":
            await farm.end_leases()
            await asyncio.sleep(0.01)
    row = await farm.row(batch_id)
    assert row.errors is not None
    assert "processing_failed" in row.errors
    assert len(process.observed.failures) >= 5
