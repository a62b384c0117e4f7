"""What every ObjectStore promises of whole files, asked of a directory and of a real S3 server."""

import asyncio
import os
from pathlib import Path

import pytest

from adapters_registry.errors import ObjectNotFound
from adapters_registry.store import ObjectStore
from adapters_registry.types import ObjectInfo
from tests.contract.object_stores import Case, contents, file_of, listed, until, written

LARGE_BYTES = 160 << 20
HOSTILE_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a/..",
    "a\\b",
    "a\0b",
    "a b",
    "a\n",
    "~incoming/a",
    "%2e%2e/a",
    "é",
    "a" * 201,
    "/".join(["a" * 200] * 5),
]


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (33 << 20) + 7], ids=str)
async def test_object_comes_back_byte_for_byte(
    size: int, store: ObjectStore, tmp_path: Path
) -> None:
    content = os.urandom(size)
    await store.put("a/b.bin", file_of(tmp_path, content))

    await store.get("a/b.bin", tmp_path / "back")

    assert (tmp_path / "back").read_bytes() == content
    assert await contents(store, "a/b.bin") == content


async def test_chunks_are_no_larger_than_asked(store: ObjectStore, tmp_path: Path) -> None:
    await store.put("a", file_of(tmp_path, b"0123456789"))

    chunks = [chunk async for chunk in store.read("a", chunk_bytes=4)]

    assert b"".join(chunks) == b"0123456789"
    assert max(map(len, chunks)) <= 4


async def test_put_replaces_what_was_there(store: ObjectStore, tmp_path: Path) -> None:
    await store.put("a", file_of(tmp_path, b"old and longer"))
    await store.put("a", file_of(tmp_path, b"new"))

    assert await contents(store, "a") == b"new"
    assert [info.size_bytes for info in await listed_root(store, tmp_path)] == [3]


async def listed_root(store: ObjectStore, tmp_path: Path) -> list[ObjectInfo]:
    """List a folder that holds a copy of object `a`: the root itself cannot be listed."""
    await store.get("a", tmp_path / "copy")
    await store.put("folder/a", tmp_path / "copy")
    return await listed(store, "folder/")


async def test_get_replaces_the_destination_and_leaves_nothing_else(
    store: ObjectStore, tmp_path: Path
) -> None:
    await store.put("a", file_of(tmp_path, b"new"))
    out = tmp_path / "out"
    out.mkdir()
    file_of(out, b"old", "back")

    await store.get("a", out / "back")

    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"back": b"new"}


async def test_missing_object_is_not_found(store: ObjectStore, tmp_path: Path) -> None:
    await store.put("a/there", file_of(tmp_path, b"x"))
    out = tmp_path / "out"
    out.mkdir()

    for key in ("missing", "a", "a/missing", "a/there/not"):
        with pytest.raises(ObjectNotFound) as caught:
            await store.get(key, out / "back")
        assert caught.value.key == key
        with pytest.raises(ObjectNotFound):
            await anext(store.read(key))
    assert list(out.iterdir()) == []


async def test_deleted_object_is_gone_and_may_be_deleted_again(
    store: ObjectStore, tmp_path: Path
) -> None:
    await store.put("a/b", file_of(tmp_path, b"x"))

    await store.delete("a/b")
    await store.delete("a/b")
    await store.delete("never/was")

    with pytest.raises(ObjectNotFound):
        await anext(store.read("a/b"))
    assert await listed(store, "a/") == []


@pytest.mark.parametrize("key", HOSTILE_KEYS, ids=lambda key: ascii(key[:20]))
async def test_key_outside_the_rule_is_refused_everywhere(
    key: str, store: ObjectStore, tmp_path: Path
) -> None:
    source = file_of(tmp_path, b"x")

    with pytest.raises(ValueError, match="not an object key"):
        await store.put(key, source)
    with pytest.raises(ValueError, match="not an object key"):
        await store.get(key, tmp_path / "back")
    with pytest.raises(ValueError, match="not an object key"):
        await anext(store.read(key))
    with pytest.raises(ValueError, match="not an object key"):
        await written(store, key, b"x")
    with pytest.raises(ValueError, match="not an object key"):
        await store.delete(key)
    with pytest.raises(ValueError, match="not an object prefix"):
        await listed(store, key + "/")


@pytest.mark.parametrize("prefix", ["", "a", "/", "../"])
async def test_prefix_is_a_folder(prefix: str, store: ObjectStore) -> None:
    with pytest.raises(ValueError, match="not an object prefix"):
        await listed(store, prefix)


async def test_list_gives_key_size_and_a_mark_that_follows_the_content(
    store: ObjectStore, tmp_path: Path
) -> None:
    await store.put("sync/a/x", file_of(tmp_path, b"first"))
    before = await listed(store, "sync/")
    again = await listed(store, "sync/")
    await store.put("sync/a/x", file_of(tmp_path, b"other"))
    after = await listed(store, "sync/")

    assert [(info.key, info.size_bytes) for info in before] == [("sync/a/x", 5)]
    assert before == again
    assert after[0].etag != before[0].etag


async def test_list_is_in_key_order_and_keeps_to_its_prefix(
    store: ObjectStore, tmp_path: Path
) -> None:
    source = file_of(tmp_path, b"x")
    inside = ["s/a-b/x", "s/a.txt", "s/a/x", "s/a/y/z", "s/a0", "s/b"]
    for key in [*reversed(inside), "s2/x", "sx", "t/s/x"]:
        await store.put(key, source)

    assert [info.key for info in await listed(store, "s/")] == sorted(inside)
    assert await listed(store, "nothing/") == []


async def test_list_goes_past_a_thousand_objects(store: ObjectStore, tmp_path: Path) -> None:
    source = file_of(tmp_path, b"x")
    keys = [f"many/{n:04}/adapter_config.json" for n in range(1050)]
    for start in range(0, len(keys), 150):
        await asyncio.gather(*(store.put(key, source) for key in keys[start : start + 150]))

    assert [info.key for info in await listed(store, "many/")] == keys


async def test_missing_source_is_the_callers_error_and_changes_nothing(
    store: ObjectStore, tmp_path: Path
) -> None:
    await store.put("a", file_of(tmp_path, b"old"))

    with pytest.raises(FileNotFoundError):
        await store.put("a", tmp_path / "missing")

    assert await contents(store, "a") == b"old"


async def test_put_cancelled_half_way_leaves_the_old_object(case: Case, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(LARGE_BYTES)
    await case.store.put("a", file_of(tmp_path, b"old"))
    putting = asyncio.create_task(case.store.put("a", large))
    await until(lambda: case.unfinished() > 0)

    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting

    assert await contents(case.store, "a") == b"old"
    await until(lambda: case.unfinished() == 0)


async def test_get_cancelled_at_any_moment_leaves_a_whole_file_or_none(
    store: ObjectStore, tmp_path: Path
) -> None:
    content = os.urandom(24 << 20)
    await store.put("a", file_of(tmp_path, content))
    out = tmp_path / "out"
    out.mkdir()
    for step in range(6):
        getting = asyncio.create_task(store.get("a", out / "back"))
        await asyncio.sleep(0.01 * step)
        getting.cancel()
        await asyncio.gather(getting, return_exceptions=True)

        left = list(out.iterdir())
        assert left in ([], [out / "back"])
        assert all(path.read_bytes() == content for path in left)


async def test_many_readers_see_the_old_or_the_new_object_while_it_is_replaced(
    store: ObjectStore, tmp_path: Path
) -> None:
    versions = [bytes([n]) * (3 << 20) for n in range(3)]
    sources = [file_of(tmp_path, version, f"v{n}") for n, version in enumerate(versions)]
    await store.put("a", sources[0])

    async def replace() -> None:
        for source in sources * 2:
            await store.put("a", source)

    async def look() -> None:
        for _ in range(4):
            assert await contents(store, "a") in versions

    await asyncio.gather(replace(), look(), look())


async def test_stopping_a_read_early_leaves_the_store_usable(
    store: ObjectStore, tmp_path: Path
) -> None:
    await store.put("a", file_of(tmp_path, bytes(8 << 20)))
    for _ in range(40):
        chunks = store.read("a", chunk_bytes=1024)
        assert len(await anext(chunks)) == 1024
        await chunks.aclose()  # type: ignore[attr-defined]

    await store.check()


async def test_event_loop_goes_on_during_a_put(store: ObjectStore, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(48 << 20)
    putting = asyncio.create_task(store.put("a", large))
    turns = 0
    while not putting.done():
        await asyncio.sleep(0)
        turns += 1

    await putting
    assert turns > 100


async def test_usable_store_passes_its_check(store: ObjectStore) -> None:
    assert await store.check() is None
