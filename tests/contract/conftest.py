"""The object stores under test, straight and behind a faulty proxy."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from adapters_registry.s3 import S3Store
from adapters_registry.store import ObjectStore
from tests.contract.object_stores import Case, directory_case, s3_case
from tests.contract.store_faults import LARGE_PATIENCE, LISTED, PATIENCE, PREFIX, Bench
from tests.fixtures.fault_proxy import FaultProxy, running_fault_proxy
from tests.fixtures.seaweedfs import SeaweedFS


@pytest.fixture(params=["directory", "s3"])
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    if request.param == "directory":
        chosen = directory_case(tmp_path)
    else:
        chosen = s3_case(request.getfixturevalue("seaweedfs"))
    yield chosen
    await chosen.store.close()


@pytest.fixture
def store(case: Case) -> ObjectStore:
    return case.store


@pytest.fixture(scope="session")
async def straight(seaweedfs: SeaweedFS) -> AsyncIterator[S3Store]:
    store = S3Store(seaweedfs.bucket, prefix=PREFIX, endpoint_url=seaweedfs.endpoint_url)
    yield store
    await store.close()


@pytest.fixture(scope="session")
async def proxy(seaweedfs: SeaweedFS) -> AsyncIterator[FaultProxy]:
    async with running_fault_proxy(seaweedfs.endpoint_url) as proxy:
        yield proxy


@pytest.fixture(scope="session")
async def proxied(
    seaweedfs: SeaweedFS, proxy: FaultProxy, straight: S3Store
) -> AsyncIterator[Callable[[str], S3Store]]:
    """A store for each operation: making one is slow, and each may retry so many times only."""
    make = partial(S3Store, seaweedfs.bucket, prefix=PREFIX, endpoint_url=proxy.url)
    quick: defaultdict[str, S3Store] = defaultdict(lambda: make(patience=PATIENCE))
    large = make(patience=LARGE_PATIENCE)
    yield lambda operation: large if operation == "write large" else quick[operation]
    for store in (large, *quick.values()):
        await store.close()


@pytest.fixture(scope="session")
async def listing(straight: S3Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    """More objects than one page of a listing holds."""
    source = tmp_path_factory.mktemp("listed") / "object"
    source.write_bytes(b"x")
    keys = [f"many/{number:04}" for number in range(LISTED)]
    for start in range(0, LISTED, 150):
        await asyncio.gather(*(straight.put(key, source) for key in keys[start : start + 150]))


@pytest.fixture
def make_bench(
    proxy: FaultProxy,
    proxied: Callable[[str], S3Store],
    straight: S3Store,
    seaweedfs: SeaweedFS,
    tmp_path: Path,
) -> Iterator[Callable[[str], Bench]]:
    yield lambda operation: Bench(proxy, proxied(operation), straight, tmp_path, seaweedfs)
    proxy.heal()


@pytest.fixture
def bench(make_bench: Callable[[str], Bench]) -> Bench:
    return make_bench("fetch")
