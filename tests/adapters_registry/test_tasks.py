import asyncio

from adapters_registry.tasks import SharedTasks
from adapters_registry.testing import until


async def test_callers_of_one_name_share_its_task():
    tasks = SharedTasks()
    gate = asyncio.Event()
    first, second = tasks.begin("name", gate.wait), tasks.begin("name", gate.wait)
    assert first is second
    assert tasks.find("name", "other") == [first]
    gate.set()
    await first


async def test_a_name_is_free_as_soon_as_its_task_is_done():
    tasks = SharedTasks()
    is_ending = asyncio.Event()

    async def work():
        is_ending.set()

    first = tasks.begin("name", work)
    await is_ending.wait()  # resumes before the callbacks of the task
    second = tasks.begin("name", work)
    assert second is not first
    await second
    await asyncio.sleep(0)
    assert tasks.find("name") == []


async def test_cancelling_waits_and_counts():
    tasks = SharedTasks()
    task = tasks.begin("name", asyncio.Event().wait)
    assert await tasks.cancel("name", "other") == 1
    assert task.cancelled()
    assert await tasks.cancel("name") == 0


async def test_closing_ends_also_what_begins_meanwhile():
    tasks = SharedTasks()

    async def begin_another():
        try:
            await asyncio.Event().wait()
        finally:
            tasks.begin("second", asyncio.Event().wait)

    tasks.begin("first", begin_another)
    await asyncio.sleep(0)
    await tasks.close()
    assert tasks.find("first", "second") == []


async def test_an_error_that_nobody_waits_for_is_not_logged_as_lost(caplog):
    tasks = SharedTasks()

    async def fail():
        raise ValueError

    tasks.begin("name", fail)
    await until(lambda: not tasks.find("name"))
    assert caplog.records == []
