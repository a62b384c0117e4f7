"""What comes of each fault of the object store, asked of a real S3 server behind a faulty proxy."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from adapters_registry.artifacts import artifact_key
from adapters_registry.cache import DiskCache
from adapters_registry.download import Retries
from adapters_registry.errors import ObjectCorrupt, ObjectNotFound, StoreError, StoreUnavailable
from adapters_registry.s3 import S3Store
from adapters_registry.testing import until
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, Artifact, Tier
from tests.contract.store_faults import (
    ALWAYS,
    CORRUPT,
    DOWN,
    FAULTS,
    FINE,
    LARGE,
    LISTED,
    MISSING,
    NEW,
    OLD,
    ONCE,
    PATIENCE,
    PREFIX,
    REQUESTS,
    RETRIES,
    Bench,
    contents,
    spoilt,
)
from tests.fixtures.fault_proxy import (
    after,
    flipped,
)
from tests.fixtures.seaweedfs import SeaweedFS

TABLE = [
    # what is done, the requests that are spoilt, how, how often, what comes of it
    ("get", "any", "delay", ALWAYS, FINE),
    ("get", "HEAD", "503 SlowDown", ONCE, FINE),
    ("get", "GET", "500", ONCE, FINE),
    ("get", "GET", "503 SlowDown", ALWAYS, DOWN),
    ("get", "GET", "429", ONCE, FINE),
    ("get", "GET", "409", ONCE, FINE),
    ("get", "any", "403", ALWAYS, DOWN),
    ("get", "GET", "404", ALWAYS, MISSING),
    ("get", "GET", "error in a 200", ALWAYS, DOWN),
    ("get", "GET", "broken off", ONCE, FINE),
    ("get", "GET", "broken off", ALWAYS, DOWN),
    ("get", "GET", "short body", ALWAYS, CORRUPT),
    ("get", "GET", "reset", ONCE, FINE),
    ("get", "any", "reset", ALWAYS, DOWN),
    ("get", "GET", "stall", ONCE, FINE),
    ("get", "GET", "stall", ALWAYS, DOWN),
    ("get", "GET", "drip", ALWAYS, DOWN),
    ("get large", "GET", "broken off", ONCE, FINE),
    ("get large", "GET", "broken off", ALWAYS, DOWN),
    ("get large", "GET", "drip", ALWAYS, DOWN),
    ("read", "GET", "503 SlowDown", ONCE, FINE),
    ("read", "GET", "broken off", ALWAYS, DOWN),
    ("read", "GET", "drip", ALWAYS, DOWN),
    ("put", "PUT", "503 SlowDown", ONCE, FINE),
    ("put", "PUT", "429", ONCE, FINE),
    ("put", "PUT", "409", ONCE, FINE),
    ("put", "PUT", "done, then 503", ONCE, FINE),
    ("put", "PUT", "done, then 503", ALWAYS, DOWN),
    ("put", "PUT", "error in a 200", ONCE, FINE),
    ("put", "PUT", "500", ALWAYS, DOWN),
    ("put", "PUT", "403", ALWAYS, DOWN),
    ("put", "PUT", "reset", ONCE, FINE),
    ("put", "PUT", "stall", ALWAYS, DOWN),
    ("delete", "DELETE", "503 SlowDown", ONCE, FINE),
    ("delete", "DELETE", "done, then 503", ONCE, FINE),
    ("delete", "DELETE", "reset", ONCE, FINE),
    ("delete", "DELETE", "500", ALWAYS, DOWN),
    ("delete", "DELETE", "stall", ALWAYS, DOWN),
    ("list", "page 2", "503 SlowDown", ONCE, FINE),
    ("list", "page 2", "500", ALWAYS, DOWN),
    ("list", "page 2", "404", ALWAYS, DOWN),
    ("list", "page 2", "error in a 200", ALWAYS, DOWN),
    ("list", "page 2", "broken off", ONCE, FINE),
    ("list", "page 2", "broken off", ALWAYS, DOWN),
    ("list", "page 2", "short body", ALWAYS, DOWN),
    ("list", "page 2", "reset", ALWAYS, DOWN),
    ("list", "page 2", "stall", ALWAYS, DOWN),
    ("list", "page 2", "drip", ALWAYS, DOWN),
    ("fetch", "GET", "503 SlowDown", ONCE, FINE),
    ("fetch", "GET", "403", ONCE, FINE),
    ("fetch", "GET", "error in a 200", ONCE, FINE),
    ("fetch", "GET", "short body", ONCE, FINE),
    ("fetch", "GET", "flipped bit", ONCE, FINE),
    ("fetch", "config", "flipped bit", ONCE, FINE),
    ("fetch", "GET", "flipped bit", ALWAYS, CORRUPT),
    ("fetch", "config", "flipped bit", ALWAYS, CORRUPT),
    ("fetch", "config", "404", ALWAYS, MISSING),
    ("fetch", "GET", "short body", ALWAYS, CORRUPT),
    ("fetch", "GET", "broken off", ALWAYS, DOWN),
    ("fetch", "any", "500", ALWAYS, DOWN),
    ("fetch", "any", "reset", ALWAYS, DOWN),
    ("fetch", "GET", "stall", ALWAYS, DOWN),
    ("fetch", "GET", "drip", ALWAYS, DOWN),
]


async def get(bench: Bench, spoil: Callable[[], None], error: type[StoreError] | None) -> None:
    await get_content(OLD, bench, spoil, error)


async def get_large(
    bench: Bench, spoil: Callable[[], None], error: type[StoreError] | None
) -> None:
    await get_content(LARGE, bench, spoil, error)


async def get_content(
    content: bytes, bench: Bench, spoil: Callable[[], None], error: type[StoreError] | None
) -> None:
    key, out = f"a/{uuid4().hex}", bench.room / "out"
    await bench.straight.put(key, bench.file(content))
    out.mkdir()
    await spoilt(bench.store.get(key, out / "back"), error, bench, spoil)
    left = {path.name: path.read_bytes() for path in out.iterdir()}
    assert left == ({} if error else {"back": content})


async def read(bench: Bench, spoil: Callable[[], None], error: type[StoreError] | None) -> None:
    key = f"a/{uuid4().hex}"
    await bench.straight.put(key, bench.file(OLD))
    await spoilt(contents(bench.store, key), error, bench, spoil)


async def put(bench: Bench, spoil: Callable[[], None], error: type[StoreError] | None) -> None:
    key = f"a/{uuid4().hex}"
    await bench.straight.put(key, bench.file(OLD))
    await spoilt(bench.store.put(key, bench.file(NEW)), error, bench, spoil)
    assert await contents(bench.straight, key) in ({OLD, NEW} if error else {NEW})


async def delete(bench: Bench, spoil: Callable[[], None], error: type[StoreError] | None) -> None:
    key = f"a/{uuid4().hex}"
    await bench.straight.put(key, bench.file(OLD))
    await spoilt(bench.store.delete(key), error, bench, spoil)
    if error is None:
        with pytest.raises(ObjectNotFound):
            await contents(bench.straight, key)


async def list_all(bench: Bench, spoil: Callable[[], None], error: type[StoreError] | None) -> None:
    keys: list[str] = []

    async def collect() -> None:
        async for info in bench.store.list("many/"):
            keys.append(info.key)

    await spoilt(collect(), error, bench, spoil)
    assert len(keys) == (0 if error else LISTED)


async def fetch(bench: Bench, spoil: Callable[[], None], error: type[StoreError] | None) -> None:
    good, asked = await bench.artifact(b"good" * 99), await bench.artifact(b"asked for" * 99)
    async with bench.cache() as cache:
        (await cache.fetch(good.version)).release()
        await spoilt(fetch_right(cache, asked), error, bench, spoil)
        assert bench.on_disk() == {good.version.digest} | (
            set() if error else {asked.version.digest}
        )
        assert list((bench.room / "cache" / "tmp").rglob("*/*")) == []
        pin = await cache.fetch(good.version)
        assert pin.tier is Tier.DISK
        pin.release()


async def fetch_right(cache: DiskCache, artifact: Artifact) -> None:
    pin = await cache.fetch(artifact.version)
    assert (pin.path / WEIGHTS_FILE).read_bytes() == (
        artifact.directory / WEIGHTS_FILE
    ).read_bytes()
    pin.release()


OPERATIONS = {
    "get": get,
    "get large": get_large,
    "read": read,
    "put": put,
    "delete": delete,
    "list": list_all,
    "fetch": fetch,
}


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
    listing: None,
) -> None:
    bench = make_bench(operation)
    spoil = partial(bench.proxy.inject, FAULTS[fault], on=REQUESTS[request_kind], times=times)
    await OPERATIONS[operation](bench, spoil, error)
    await until(lambda: bench.proxy.busy == 0)  # no thread waits for an answer any more


async def test_wrong_bytes_are_counted_and_not_asked_for_by_every_request(bench: Bench) -> None:
    asked = await bench.artifact(b"asked for" * 99)
    bench.proxy.inject(flipped(), on=REQUESTS["GET"])
    async with bench.cache() as cache:
        with pytest.raises(ObjectCorrupt):
            await cache.fetch(asked.version)
        requests = len(bench.proxy.requests)
        for _ in range(20):
            with pytest.raises(ObjectCorrupt):
                await cache.fetch(asked.version)
    assert len(bench.proxy.requests) == requests
    assert bench.refused == {"corrupt": RETRIES.attempts}
    assert bench.on_disk() == set()


async def test_wrong_bytes_that_fit_their_checksum_are_refused_by_the_digest(bench: Bench) -> None:
    asked = await bench.artifact(b"asked for" * 99)
    assert asked.version.stored_as is not None
    key = artifact_key(asked.version.stored_as, WEIGHTS_FILE)
    await bench.straight.put(key, bench.file(b"Asked for" * 99))
    async with bench.cache() as cache:
        with pytest.raises(ObjectCorrupt):
            await cache.fetch(asked.version)
    assert (bench.refused, bench.on_disk()) == ({"corrupt": RETRIES.attempts}, set())


async def test_fifty_artifacts_come_though_three_of_ten_requests_fail(bench: Bench) -> None:
    artifacts = [await bench.artifact(b"%d" % number * 500) for number in range(50)]
    bench.proxy.inject(FAULTS["503 SlowDown"], share=0.3)
    async with bench.cache(Retries(attempts=8, delay_seconds=0.05)) as cache:
        await asyncio.gather(*(fetch_right(cache, artifact) for artifact in artifacts))
    assert bench.on_disk() == {artifact.version.digest for artifact in artifacts}


@pytest.mark.parametrize("file", [CONFIG_FILE, WEIGHTS_FILE])
async def test_an_object_that_vanishes_between_head_and_get_is_missing(
    file: str, bench: Bench
) -> None:
    asked = await bench.artifact(b"asked for" * 99)
    assert asked.version.stored_as is not None
    vanish = partial(bench.straight.delete, artifact_key(asked.version.stored_as, file))
    bench.proxy.inject(
        after(vanish), on=lambda request: request.method == "GET" and file in request.target
    )
    async with bench.cache() as cache:
        with pytest.raises(ObjectNotFound):
            await cache.fetch(asked.version)
    assert (bench.refused, bench.on_disk()) == ({"missing": 1}, set())


async def test_an_object_that_vanishes_between_list_and_get_is_missing(bench: Bench) -> None:
    await bench.straight.put("vanishing/a", bench.file(OLD))
    [info] = [info async for info in bench.store.list("vanishing/")]
    await bench.straight.delete("vanishing/a")
    with pytest.raises(ObjectNotFound):
        await bench.store.get(info.key, bench.room / "back")


async def test_what_is_on_disk_is_served_while_the_store_is_down_at_the_start(
    make_bench: Callable[[str], Bench],
) -> None:
    bench = make_bench("down")
    here, elsewhere = await bench.artifact(b"here" * 99), await bench.artifact(b"elsewhere" * 99)
    async with bench.cache() as earlier:
        await fetch_right(earlier, here)
    await bench.proxy.go_down()
    async with bench.cache(Retries(attempts=2, delay_seconds=0.01, pause_seconds=0.0)) as cache:
        await fetch_right(cache, here)
        with pytest.raises(StoreUnavailable):
            await cache.fetch(elsewhere.version)
        assert (bench.refused, bench.on_disk()) == ({"unavailable": 2}, {here.version.digest})
        await bench.proxy.go_up()
        await fetch_right(cache, elsewhere)


async def test_threads_of_a_dripping_download_end(
    seaweedfs: SeaweedFS, bench: Bench, tmp_path: Path
) -> None:
    await bench.straight.put("dripping", bench.file(LARGE))
    before = set(threading.enumerate())
    store = S3Store(
        seaweedfs.bucket, prefix=PREFIX, endpoint_url=bench.proxy.url, patience=PATIENCE
    )
    bench.proxy.inject(FAULTS["drip"], on=REQUESTS["GET"])
    with pytest.raises(StoreUnavailable):
        await store.get("dripping", tmp_path / "back")
    await store.close()
    await until(lambda: not own_threads(before))
    assert not (tmp_path / "back").exists()


def own_threads(before: set[threading.Thread]) -> set[threading.Thread]:
    later = set(threading.enumerate()) - before
    return {thread for thread in later if not thread.name.startswith("asyncio_")}
