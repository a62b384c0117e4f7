"""Cancelling the wait for a thread stops the thread and does not run ahead of it."""

import asyncio
import threading

import pytest

from adapters_registry.threads import finish


async def test_result_and_error_of_the_work_come_back() -> None:
    loop = asyncio.get_running_loop()

    assert await finish(loop.run_in_executor(None, int, "7"), lambda: None) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await finish(loop.run_in_executor(None, int, "x"), lambda: None)


async def test_cancelled_wait_returns_only_after_the_work_has_ended() -> None:
    started, stop, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        stop.wait()
        ended.set()
        raise OSError("the interrupted work's own error is of no interest")

    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(finish(loop.run_in_executor(None, work), stop.set))
    await asyncio.to_thread(started.wait)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_second_cancellation_does_not_wait() -> None:
    started, release = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait()

    running = asyncio.get_running_loop().run_in_executor(None, work)
    interrupted = asyncio.Event()
    waiting = asyncio.create_task(finish(running, interrupted.set))
    await asyncio.to_thread(started.wait)
    waiting.cancel()
    await interrupted.wait()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not running.done()
    release.set()
    await running
