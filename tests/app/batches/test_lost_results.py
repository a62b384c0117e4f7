"""What becomes of a batch where the store has lost something, or never gives its input."""

from adapters_registry.errors import StoreUnavailable
from app.batches.step_work import LAST_ATTEMPT
from tests.app.batches.farm import Farm, lines, until
from tests.app.batches.processes import Fate


async def test_a_part_that_is_lost_costs_its_own_lines_and_no_others(farm: Farm) -> None:
    asked = lines(9)
    batch_id = await farm.add(asked)
    process = farm.process(lease_seconds=3)
    finalize = process.worker._steps._finalizer.run
    seen: list[bool] = []

    async def lose_one(step, *, without_lost=False):
        parts = [key for key in await farm.objects(batch_id) if "/parts/" in key]
        if not seen:
            await farm.store.delete(sorted(parts)[0])
        seen.append(without_lost)
        try:
            return await finalize(step, without_lost=without_lost)
        finally:
            await farm.end_leases()

    process.worker._steps._finalizer.run = lose_one  # type: ignore[method-assign]
    async with farm.working(process):
        await farm.ended(batch_id)

    row = await farm.row(batch_id)
    assert seen == [False] * (LAST_ATTEMPT - 1) + [True]
    assert (row.status, row.total, row.completed, row.failed) == ("completed", 9, 6, 3)
    _, errors = await farm.results(batch_id)
    assert {each["error"]["code"] for each in errors} == {"processing_failed"}
    await farm.check(batch_id, asked)


async def test_a_batch_that_cannot_be_validated_expires(farm: Farm) -> None:
    class NoStore(Fate):
        async def point(self, error: type[Exception]) -> None:
            if error is StoreUnavailable:
                raise StoreUnavailable("gone")

    batch_id = await farm.add(lines(3))
    process = farm.process(fate=NoStore())
    async with farm.working(process):
        await until(lambda: len(process.observed.failures) > 2)
        assert (await farm.row(batch_id)).status == "validating"
        await farm.change(batch_id, expires_at=0)
        await farm.ended(batch_id)
    row = await farm.row(batch_id)
    assert (row.status, row.output_file_id, row.error_file_id) == ("expired", None, None)
    assert row.expired_at is not None
