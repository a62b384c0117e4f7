"""Generations that run next to each other."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from app.api.completions.side_by_side import MOST_UNREAD, side_by_side
from app.engine.base import Delta


class Runs:
    """Makes generations that can be watched."""

    def __init__(self) -> None:
        self.begun = 0
        self.open = 0
        self.most_open = 0
        self.given = 0

    async def say(self, *texts: str | Exception) -> AsyncGenerator[Delta, None]:
        self.begun += 1
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            for text in texts:
                await asyncio.sleep(0)
                if isinstance(text, Exception):
                    raise text
                self.given += 1
                yield Delta(text)
        finally:
            self.open -= 1

    async def hang(self) -> AsyncGenerator[Delta, None]:
        self.open += 1
        try:
            yield Delta("begun")
            await asyncio.Event().wait()
        finally:
            self.open -= 1


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.mark.parametrize("at_once", [1, 2, 3, 9])
async def test_no_more_run_at_once_than_may_and_each_piece_has_its_index(
    runs: Runs, at_once: int
) -> None:
    three = [runs.say("a", "b"), runs.say("c"), runs.say("d", "e")]
    pieces = [piece async for piece in side_by_side(three, at_once=at_once)]
    texts = [[delta.text for index, delta in pieces if index == run] for run in range(3)]
    assert texts == [["a", "b"], ["c"], ["d", "e"]]
    assert runs.most_open == min(at_once, 3)
    assert runs.open == 0


async def test_pieces_come_as_they_are_made_and_not_run_by_run(runs: Runs) -> None:
    two = [runs.say("a", "b", "c"), runs.say("d", "e", "f")]
    indexes = [index async for index, _ in side_by_side(two, at_once=2)]
    assert indexes != sorted(indexes)


async def test_closing_ends_every_run_and_begins_no_other(runs: Runs) -> None:
    many = [runs.hang(), runs.hang(), runs.say("never")]
    async with aclosing(side_by_side(many, at_once=2)) as pieces:
        await anext(pieces)
        assert runs.open == 2
    assert runs.open == 0
    assert runs.begun == 0


async def test_a_failure_comes_after_the_pieces_before_it_and_ends_the_others(runs: Runs) -> None:
    two = [runs.hang(), runs.say("a", "b", KeyError("c"))]
    pieces = side_by_side(two, at_once=2)
    seen = [(await anext(pieces))[1].text for _ in range(3)]
    assert sorted(seen) == ["a", "b", "begun"]
    with pytest.raises(KeyError, match="c"):
        await anext(pieces)
    assert runs.open == 0


async def test_cancelling_the_reader_ends_every_run(runs: Runs) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async with aclosing(side_by_side([runs.hang(), runs.hang()], at_once=2)) as pieces:
            async for _ in pieces:
                begun.set()

    reading = asyncio.create_task(read())
    await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert runs.open == 0


async def test_a_reader_that_stops_holds_the_runs_up(runs: Runs) -> None:
    long = [runs.say(*["a"] * 3 * MOST_UNREAD) for _ in range(2)]
    async with aclosing(side_by_side(long, at_once=2)) as pieces:
        await anext(pieces)
        for _ in range(10 * MOST_UNREAD):
            await asyncio.sleep(0)
        assert MOST_UNREAD <= runs.given <= MOST_UNREAD + 3
