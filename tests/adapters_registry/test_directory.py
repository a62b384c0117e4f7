"""What only a directory can meet: links, half-written files, a disk that fails."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from adapters_registry.directory import DirectoryStore
from adapters_registry.errors import StoreUnavailable


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"content")
    return path


async def test_objects_are_plain_files_under_the_root(tmp_path: Path, source: Path) -> None:
    await DirectoryStore(tmp_path / "store").put("a/b", source)

    assert (tmp_path / "store" / "a" / "b").read_bytes() == b"content"


async def test_unfinished_files_are_not_listed(tmp_path: Path, source: Path) -> None:
    store = DirectoryStore(tmp_path)
    await store.put("a/b", source)
    (tmp_path / "~incoming" / "left by a crash").write_bytes(b"half")

    assert [info.key async for info in store.list("a/")] == ["a/b"]


async def test_links_to_directories_are_not_followed_by_a_listing(
    tmp_path: Path, source: Path
) -> None:
    store = DirectoryStore(tmp_path / "store")
    await store.put("a/b", source)
    (tmp_path / "store" / "a" / "loop").symlink_to(tmp_path / "store", target_is_directory=True)

    assert [info.key async for info in store.list("a/")] == ["a/b"]


async def test_root_that_is_a_file_is_unavailable(tmp_path: Path, source: Path) -> None:
    store = DirectoryStore(source)

    with pytest.raises(StoreUnavailable) as caught:
        await store.put("a", source)
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(StoreUnavailable):
        await store.check()


async def test_object_where_a_folder_is_needed_is_unavailable(tmp_path: Path, source: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    await store.put("a", source)

    with pytest.raises(StoreUnavailable):
        await store.put("a/b", source)
    assert (tmp_path / "store" / "a").read_bytes() == b"content"
    assert list((tmp_path / "store" / "~incoming").iterdir()) == []


@pytest.mark.parametrize("leave_a_file", [False, True])
async def test_a_root_that_has_gone_is_no_empty_store(
    tmp_path: Path, source: Path, leave_a_file: bool
) -> None:
    root = tmp_path / "objects"
    store = DirectoryStore(root)
    await store.put("a/b", source)
    root.rename(tmp_path / "elsewhere")
    if leave_a_file:
        root.touch()

    with pytest.raises(StoreUnavailable):
        [info async for info in store.list("a/")]
    with pytest.raises(StoreUnavailable):
        await store.get("a/b", tmp_path / "copy")
    with pytest.raises(StoreUnavailable):
        [chunk async for chunk in store.read("a/b")]
    with pytest.raises(StoreUnavailable):
        await store.put("a/b", source)
    with pytest.raises(StoreUnavailable):
        await store.check()
    assert root.is_file() == leave_a_file


async def test_deleting_leaves_no_empty_directory(tmp_path: Path, source: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    for key in ("artifacts/x/one", "artifacts/x/two"):
        await store.put(key, source)

    await store.delete("artifacts/x/one")
    assert (tmp_path / "objects/artifacts/x/two").is_file()
    await store.delete("artifacts/x/two")

    assert list((tmp_path / "objects/artifacts").iterdir()) == []


def test_a_file_is_closed_also_where_its_reader_is_cancelled_again_while_it_closes(
    tmp_path: Path, source: Path
) -> None:
    files: list[IO[bytes]] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        store = DirectoryStore(tmp_path / "store")
        await store.put("a", source)
        reading = store.read("a", chunk_bytes=1)
        await anext(reading)
        files.append(reading.ag_frame.f_locals["file"])  # type: ignore[attr-defined]
        release = threading.Event()
        busy = asyncio.create_task(asyncio.to_thread(release.wait))
        closing = asyncio.ensure_future(reading.aclose())  # type: ignore[attr-defined]
        for _ in range(2):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            closing.cancel()
        with suppress(asyncio.CancelledError):
            await closing
        release.set()
        await busy

    asyncio.run(scenario())
    assert files[0].closed


async def test_a_read_that_is_cancelled_as_it_begins_leaves_no_file_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")  # opening it waits for whoever opens the other end
    read = asyncio.ensure_future(anext(DirectoryStore(tmp_path).read("a")))
    with await other_end(tmp_path / "a") as writer:
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        await asyncio.sleep(0)
        with pytest.raises(BrokenPipeError):
            writer.write(b"1")


async def other_end(path: Path) -> IO[bytes]:
    """Open a pipe that somebody is about to read."""
    for _ in range(1000):
        with suppress(OSError):  # nobody yet
            return os.fdopen(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb", buffering=0)
        await asyncio.sleep(0.001)
    raise AssertionError("nobody reads")
