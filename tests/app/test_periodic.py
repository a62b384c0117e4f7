import asyncio

from app.periodic import PeriodicTasks


class Failures:
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.tasks: list[str] = []

    def background_begun(self, task: str) -> None:
        self.begun.append(task)

    def background_failed(self, task: str) -> None:
        self.tasks.append(task)


async def test_work_is_done_at_once_and_again() -> None:
    rounds: asyncio.Queue[None] = asyncio.Queue()
    periodic = PeriodicTasks(Failures())

    async def work() -> None:
        rounds.put_nowait(None)

    periodic.start("work", work, every_seconds=0.001)
    for _ in range(3):
        await rounds.get()
    await periodic.close()


async def test_work_is_told_of_before_its_first_round() -> None:
    failures = Failures()
    periodic = PeriodicTasks(failures)
    periodic.start("work", asyncio.Event().wait, every_seconds=60)
    assert failures.begun == ["work"]
    await periodic.close()


async def test_a_failed_round_is_counted_and_ends_neither_its_work_nor_others() -> None:
    failures = Failures()
    periodic = PeriodicTasks(failures)
    healed, other = asyncio.Event(), asyncio.Event()
    attempts = iter([OSError("away"), ValueError("odd")])

    async def failing() -> None:
        if (error := next(attempts, None)) is not None:
            raise error
        healed.set()

    async def fine() -> None:
        other.set()

    periodic.start("failing", failing, every_seconds=0.001)
    periodic.start("fine", fine, every_seconds=0.001)
    await healed.wait()
    await other.wait()
    await periodic.close()

    assert failures.tasks == ["failing", "failing"]


async def test_closing_cancels_a_round_and_waits_for_its_end() -> None:
    periodic = PeriodicTasks(Failures())
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    periodic.start("work", work, every_seconds=60)
    await begun.wait()
    await periodic.close()

    assert ended.is_set()
