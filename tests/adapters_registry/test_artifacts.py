import pytest

from adapters_registry.artifacts import artifact_key, publish, unpublish
from adapters_registry.errors import StoreUnavailable
from adapters_registry.testing import MemoryStore, make_artifact
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE


class OrderedStore(MemoryStore):
    """Remembers the order of changes, and fails at one of them."""

    def __init__(self, *, fail_at=None):
        super().__init__()
        self.changes = []
        self.fail_at = fail_at

    async def check(self):
        if len(self.changes) == self.fail_at:
            raise StoreUnavailable("down")
        self.changes.append(sorted(self.objects))


async def test_publish_stores_both_files_under_the_id(tmp_path):
    store = MemoryStore()
    artifact = make_artifact(tmp_path / "a", "base", b"weights")
    await publish(store, artifact, "ft_1")
    assert store.objects == {
        "artifacts/ft_1/adapter_config.json": b'{"r":8}',
        "artifacts/ft_1/adapter_model.safetensors": b"weights",
    }


async def test_a_broken_publish_leaves_no_config(tmp_path):
    store = OrderedStore(fail_at=1)
    artifact = make_artifact(tmp_path / "a", "base", b"weights")
    with pytest.raises(StoreUnavailable):
        await publish(store, artifact, "ft_1")
    assert list(store.objects) == [artifact_key("ft_1", WEIGHTS_FILE)]


async def test_a_broken_unpublish_leaves_no_config(tmp_path):
    store = OrderedStore(fail_at=3)
    artifact = make_artifact(tmp_path / "a", "base", b"weights")
    await publish(store, artifact, "ft_1")
    with pytest.raises(StoreUnavailable):
        await unpublish(store, "ft_1")
    assert artifact_key("ft_1", CONFIG_FILE) not in store.objects


async def test_unpublish_removes_all_and_may_be_repeated(tmp_path):
    store = MemoryStore()
    artifact = make_artifact(tmp_path / "a", "base", b"weights")
    await publish(store, artifact, "ft_1")
    await unpublish(store, "ft_1")
    await unpublish(store, "ft_1")
    assert store.objects == {}
