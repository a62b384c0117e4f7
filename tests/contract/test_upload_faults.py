"""What comes of each fault of the object store while an object is written in pieces."""

import asyncio
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import pytest

from adapters_registry.errors import ObjectNotFound, StoreError, StoreUnavailable
from adapters_registry.s3 import S3Store
from adapters_registry.testing import until
from tests.contract.store_faults import (
    ALWAYS,
    DOWN,
    FAULTS,
    FINE,
    LARGE,
    NEW,
    OLD,
    ONCE,
    PATIENCE,
    PREFIX,
    REQUESTS,
    Bench,
    contents,
    spoilt,
)
from tests.fixtures.fault_proxy import delayed, stalled
from tests.fixtures.seaweedfs import SeaweedFS

TABLE = [
    # what is done, the requests that are spoilt, how, how often, what comes of it
    ("write", "PUT", "503 SlowDown", ONCE, FINE),
    ("write", "PUT", "done, then 503", ONCE, FINE),
    ("write", "PUT", "reset", ONCE, FINE),
    ("write", "PUT", "500", ALWAYS, DOWN),
    ("write", "PUT", "stall", ALWAYS, DOWN),
    ("write large", "any", "delay", ALWAYS, FINE),
    ("write large", "begin", "503 SlowDown", ONCE, FINE),
    ("write large", "begin", "500", ALWAYS, DOWN),
    ("write large", "begin", "403", ALWAYS, DOWN),
    ("write large", "part", "503 SlowDown", ONCE, FINE),
    ("write large", "part", "429", ONCE, FINE),
    ("write large", "part 2", "500", ONCE, FINE),
    ("write large", "part 2", "done, then 503", ONCE, FINE),
    ("write large", "part 2", "reset", ONCE, FINE),
    ("write large", "part 2", "stall", ONCE, FINE),
    ("write large", "part 2", "500", ALWAYS, DOWN),
    ("write large", "part 2", "done, then 503", ALWAYS, DOWN),
    ("write large", "part", "reset", ALWAYS, DOWN),
    ("write large", "part", "stall", ALWAYS, DOWN),
    ("write large", "part", "404", ALWAYS, DOWN),
    ("write large", "complete", "503 SlowDown", ONCE, FINE),
    ("write large", "complete", "error in a 200", ONCE, FINE),
    ("write large", "complete", "done, then 503", ONCE, FINE),
    ("write large", "complete", "done, then 503", ALWAYS, DOWN),
    ("write large", "complete", "error in a 200", ALWAYS, DOWN),
    ("write large", "complete", "500", ALWAYS, DOWN),
    ("write large", "complete", "stall", ALWAYS, DOWN),
]


async def write(bench: Bench, spoil: Callable[[], None], error: type[StoreError] | None) -> None:
    await write_content(NEW, bench, spoil, error)


async def write_large(
    bench: Bench, spoil: Callable[[], None], error: type[StoreError] | None
) -> None:
    await write_content(LARGE, bench, spoil, error)


async def write_content(
    content: bytes, bench: Bench, spoil: Callable[[], None], error: type[StoreError] | None
) -> None:
    key = f"a/{uuid4().hex}"
    await bench.straight.put(key, bench.file(OLD))
    await spoilt(written(bench.store, key, content), error, bench, spoil)
    assert await contents(bench.straight, key) in ({OLD, content} if error else {content})
    assert bench.unfinished(key) == []


OPERATIONS = {"write": write, "write large": write_large}


async def written(store: S3Store, key: str, content: bytes) -> None:
    async with store.writer(key) as writer:
        for start in range(0, len(content), 1 << 20):
            await writer.write(content[start : start + (1 << 20)])
        await writer.commit()


@pytest.mark.parametrize(
    ("operation", "request_kind", "fault", "times", "error"),
    TABLE,
    ids=[f"{row[0]}-{row[1]}-{row[2]}-{'once' if row[3] else 'always'}" for row in TABLE],
)
async def test_fault_has_its_outcome(
    operation: str,
    request_kind: str,
    fault: str,
    times: int | None,
    error: type[StoreError] | None,
    make_bench: Callable[[str], Bench],
) -> None:
    bench = make_bench(operation)
    spoil = partial(bench.proxy.inject, FAULTS[fault], on=REQUESTS[request_kind], times=times)
    await OPERATIONS[operation](bench, spoil, error)
    await until(lambda: bench.proxy.busy == 0)  # no thread waits for an answer any more


async def test_an_upload_that_cannot_be_taken_back_is_tidied_away(
    make_bench: Callable[[str], Bench],
) -> None:
    bench = make_bench("write large")
    for request_kind in ("part 2", "abort"):
        bench.proxy.inject(FAULTS["500"], on=REQUESTS[request_kind])
    with pytest.raises(StoreUnavailable):
        await written(bench.store, "half", LARGE)
    assert len(bench.unfinished("half")) == 1
    bench.proxy.heal()
    await bench.store.tidy(3600)
    assert len(bench.unfinished("half")) == 1
    await bench.store.tidy(-3600)
    assert bench.unfinished("half") == []


async def test_an_upload_cancelled_while_its_parts_are_under_way_leaves_nothing(
    make_bench: Callable[[str], Bench],
) -> None:
    bench = make_bench("patient")
    bench.proxy.inject(delayed(1.0), on=REQUESTS["part"])
    writing = asyncio.create_task(written(bench.store, "given-up", LARGE))
    await until(lambda: bench.proxy.busy > 0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert bench.unfinished("given-up") == []


async def test_nothing_is_committed_after_a_part_has_failed(
    make_bench: Callable[[str], Bench],
) -> None:
    bench = make_bench("write large")
    bench.proxy.inject(FAULTS["403"], on=REQUESTS["begin"], times=1)
    async with bench.store.writer("never") as writer:
        with pytest.raises(StoreUnavailable):
            await writer.write(LARGE)
        with pytest.raises(StoreUnavailable):
            await writer.commit()
    with pytest.raises(ObjectNotFound):
        await contents(bench.straight, "never")


async def test_closing_the_store_ends_its_uploads(seaweedfs: SeaweedFS, bench: Bench) -> None:
    store = S3Store(
        seaweedfs.bucket, prefix=PREFIX, endpoint_url=bench.proxy.url, patience=PATIENCE
    )
    bench.proxy.inject(stalled, on=REQUESTS["part"])
    writing = asyncio.create_task(written(store, "closed", LARGE * 2))
    await until(lambda: bench.proxy.busy > 0)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await writing
