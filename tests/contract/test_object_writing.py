"""What every ObjectStore promises of objects written in pieces, of ranges and of tidying."""

import asyncio
import os
import tracemalloc

import pytest

from adapters_registry.errors import ObjectNotFound
from adapters_registry.s3_upload import PART_BYTES
from adapters_registry.store import ObjectStore
from tests.contract.object_stores import Case, contents, listed, written

PARTS = [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES + 7]


@pytest.mark.parametrize("size", PARTS)
@pytest.mark.parametrize("piece", [1_000_003, 3 * PART_BYTES])
async def test_object_written_in_pieces_comes_back_byte_for_byte(
    size: int, piece: int, case: Case
) -> None:
    content = os.urandom(size)

    await written(case.store, "a/b", content, piece)

    assert await contents(case.store, "a/b") == content
    assert case.unfinished() == 0


async def test_object_is_seen_once_it_is_committed(store: ObjectStore) -> None:
    content = os.urandom(PART_BYTES + 1)
    async with store.writer("a/b") as writer:
        await writer.write(content)
        assert await listed(store, "a/") == []
        await writer.commit()
        assert await contents(store, "a/b") == content


@pytest.mark.parametrize("size", [1, 3 * PART_BYTES])
async def test_what_is_not_committed_leaves_the_old_object(size: int, case: Case) -> None:
    await written(case.store, "a", b"old")

    async with case.store.writer("a") as writer:
        await writer.write(bytes(size))

    assert await contents(case.store, "a") == b"old"
    assert case.unfinished() == 0


@pytest.mark.parametrize("size", [1, 3 * PART_BYTES])
async def test_a_block_that_fails_leaves_the_old_object(size: int, case: Case) -> None:
    await written(case.store, "a", b"old")

    async def fail() -> None:
        async with case.store.writer("a") as writer:
            await writer.write(bytes(size))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await contents(case.store, "a") == b"old"
    assert case.unfinished() == 0


async def test_writing_that_is_cancelled_at_any_moment_leaves_a_whole_object(case: Case) -> None:
    old, new = b"old", os.urandom(3 * PART_BYTES)
    for step in range(12):
        await written(case.store, "a", old)
        writing = asyncio.create_task(written(case.store, "a", new))
        await asyncio.sleep(0.02 * step)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

        assert await contents(case.store, "a") in (old, new), step
        assert case.unfinished() == 0, step


async def test_writing_holds_little_in_memory(store: ObjectStore) -> None:
    piece = bytes(1 << 20)
    tracemalloc.start()
    try:
        async with store.writer("a") as writer:
            for _ in range(96):
                await writer.write(piece)
            await writer.commit()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The parts under way, the next one twice while it is made, and one that a thread still holds.
    assert peak < 6 * PART_BYTES


async def test_several_objects_are_written_at_once(case: Case) -> None:
    sent = [os.urandom(2 * PART_BYTES + n) for n in range(8)]

    await asyncio.gather(*(written(case.store, f"a/{n}", each) for n, each in enumerate(sent)))

    assert [await contents(case.store, f"a/{n}") for n in range(8)] == sent
    assert case.unfinished() == 0


TEN = b"0123456789"


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, TEN),
        (0, 4, b"0123"),
        (3, 4, b"3456"),
        (3, None, TEN[3:]),
        (9, 1, b"9"),
        (8, 100, b"89"),
        (0, 10, TEN),
        (10, 5, b""),
        (10, None, b""),
        (1 << 62, 1, b""),
        (0, 0, b""),
        (5, 0, b""),
    ],
)
async def test_a_range_gives_what_there_is_of_it(
    store: ObjectStore, start: int, length: int | None, expected: bytes
) -> None:
    await written(store, "a", TEN)

    chunks = [chunk async for chunk in store.read("a", start=start, length=length, chunk_bytes=3)]

    assert b"".join(chunks) == expected
    assert all(len(chunk) <= 3 for chunk in chunks)


async def test_a_range_across_parts_is_exact(store: ObjectStore) -> None:
    content = os.urandom(3 * PART_BYTES)
    await written(store, "a", content)
    start, length = PART_BYTES - 5, PART_BYTES + 11

    read = b"".join([chunk async for chunk in store.read("a", start=start, length=length)])

    assert read == content[start : start + length]


async def test_a_range_of_an_empty_object_is_empty(store: ObjectStore) -> None:
    await written(store, "a", b"")

    assert [chunk async for chunk in store.read("a", start=0, length=5)] == []


@pytest.mark.parametrize(("start", "length"), [(0, 0), (0, 1), (5, None)])
async def test_a_range_of_a_missing_object_is_not_found(
    store: ObjectStore, start: int, length: int | None
) -> None:
    with pytest.raises(ObjectNotFound):
        await anext(store.read("missing", start=start, length=length))


@pytest.mark.parametrize(("start", "length"), [(-1, None), (0, -1)])
async def test_a_negative_range_is_refused(
    store: ObjectStore, start: int, length: int | None
) -> None:
    with pytest.raises(ValueError, match="not a range of bytes"):
        await anext(store.read("a", start=start, length=length))


async def test_tidying_removes_what_was_abandoned_long_ago_and_nothing_else(case: Case) -> None:
    await written(case.store, "a/b", TEN)
    await case.store.tidy(3600)
    case.abandon()

    await case.store.tidy(3600)
    assert case.unfinished() == 1
    await case.store.tidy(-3600)

    assert case.unfinished() == 0
    assert await contents(case.store, "a/b") == TEN
