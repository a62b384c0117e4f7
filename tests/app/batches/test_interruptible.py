"""A block that is ended from outside."""

import asyncio

import pytest

from app.batches.interruptible import Interruptible


async def test_a_block_that_is_ended_is_left_without_an_error() -> None:
    work, entered = Interruptible(), asyncio.Event()
    steps = []

    async def run() -> None:
        async with work.block():
            entered.set()
            await asyncio.Event().wait()
            steps.append("inside")
        steps.append("behind")

    task = asyncio.create_task(run())
    await entered.wait()
    work.end()
    work.end()
    await task
    assert steps == ["behind"]


async def test_a_block_that_was_ended_before_is_left_at_its_first_wait() -> None:
    work = Interruptible()
    work.end()
    async with work.block():
        await asyncio.Event().wait()
    assert work.is_ended


async def test_a_block_that_is_not_ended_runs_through() -> None:
    work = Interruptible()
    async with work.block():
        await asyncio.sleep(0)
    assert not work.is_ended


async def test_what_runs_out_of_time_inside_is_told() -> None:
    work = Interruptible()
    with pytest.raises(TimeoutError):
        async with work.block(), asyncio.timeout(0):
            await asyncio.Event().wait()


async def test_a_cancellation_of_the_task_goes_through() -> None:
    work, entered = Interruptible(), asyncio.Event()

    async def run() -> None:
        async with work.block():
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_outer_block_ends_an_inner_one() -> None:
    outer, inner, entered = Interruptible(), Interruptible(), asyncio.Event()
    steps = []

    async def run() -> None:
        async with outer.block():
            async with inner.block():
                entered.set()
                await asyncio.Event().wait()
            steps.append("between")

    task = asyncio.create_task(run())
    await entered.wait()
    outer.end()
    inner.end()
    await task
    assert steps == []
