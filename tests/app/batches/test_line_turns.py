"""Turns go round the organisations, and none is lost."""

import asyncio

from app.batches.line_turns import LineTurns


class Lines:
    """Lines that hold their turns until they are ended."""

    def __init__(self, turns: LineTurns) -> None:
        self.turns = turns
        self.started: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def add(self, *names: str) -> None:
        """Add lines; the first letter is the organisation."""
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._run(name))

    async def _run(self, name: str) -> None:
        async with self.turns.turn(name[0]):
            self.started.append(name)
            await self.ends[name].wait()

    async def end(self, *names: str) -> None:
        for name in names:
            self.ends[name].set()
            await settle()

    async def close(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_as_many_run_as_may() -> None:
    lines = Lines(LineTurns(lambda: 2))
    lines.add("a1", "a2", "a3")
    await settle()
    assert lines.started == ["a1", "a2"]
    await lines.end("a1")
    assert lines.started == ["a1", "a2", "a3"]
    await lines.close()


async def test_organisations_take_turns() -> None:
    lines = Lines(LineTurns(lambda: 1))
    lines.add("a1", "a2", "a3", "a4")
    await settle()
    lines.add("b1", "c1", "b2")
    await settle()
    await lines.end("a1", "a2", "b1", "c1", "a3", "b2")
    assert lines.started == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]
    await lines.close()


async def test_a_line_that_is_cancelled_while_it_waits_takes_no_turn() -> None:
    lines = Lines(LineTurns(lambda: 1))
    lines.add("a1", "b1", "c1")
    await settle()
    lines.tasks["b1"].cancel()
    await settle()
    assert lines.started == ["a1"]
    await lines.end("a1")
    assert lines.started == ["a1", "c1"]
    await lines.close()


async def test_a_line_that_is_cancelled_as_it_is_given_a_turn_passes_it_on() -> None:
    lines = Lines(LineTurns(lambda: 1))
    lines.add("a1", "b1", "c1")
    await settle()
    lines.ends["a1"].set()
    await asyncio.sleep(0)
    lines.tasks["b1"].cancel()
    await settle()
    await lines.end("c1")
    lines.add("d1")
    await settle()
    assert lines.started[-1] == "d1"
    await lines.close()


async def test_one_line_runs_even_where_there_is_no_room() -> None:
    lines = Lines(LineTurns(lambda: 0))
    lines.add("a1", "a2")
    await settle()
    assert lines.started == ["a1"]
    await lines.close()


async def test_room_that_has_grown_is_given_out_when_asked() -> None:
    most = 1
    turns = LineTurns(lambda: most)
    lines = Lines(turns)
    lines.add("a1", "a2", "a3")
    await settle()
    most = 3
    turns.offer()
    await settle()
    assert lines.started == ["a1", "a2", "a3"]
    await lines.close()
