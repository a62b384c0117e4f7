"""What only a directory can meet: links, half-written files, a disk that fails."""

from pathlib import Path

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
