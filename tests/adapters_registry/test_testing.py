import pytest

from adapters_registry.artifacts import artifact_key, publish
from adapters_registry.errors import ObjectNotFound
from adapters_registry.testing import MemoryStore, RecordingHost, make_artifact, until
from adapters_registry.types import WEIGHTS_FILE, LoadedAdapter

SHAPES = {"q_proj": (64, 64)}


@pytest.fixture
def artifact(tmp_path):
    return make_artifact(tmp_path / "artifact", "base", b"weights")


async def test_the_host_holds_what_was_loaded_until_it_is_unloaded(artifact):
    host = RecordingHost(1, shapes=SHAPES)
    adapter = LoadedAdapter(artifact.version, 1, artifact.directory)
    await host.load(adapter)
    assert host.known == {1: adapter}
    await host.unload(adapter)
    assert (host.known, host.violations, host.shapes) == ({}, [], SHAPES)


async def test_the_host_sees_each_breach_of_its_contract(artifact, tmp_path):
    host = RecordingHost(1)
    await host.load(LoadedAdapter(artifact.version, 1, artifact.directory))
    await host.load(LoadedAdapter(artifact.version, 1, tmp_path))
    used_id, known, full, config, weights = host.violations
    assert "id 1" in used_id
    assert "known already" in known
    assert "no place" in full
    assert "adapter_config.json" in config
    assert "adapter_model.safetensors" in weights


def test_the_host_has_a_slot_for_each_place_unless_told_otherwise():
    assert (RecordingHost(3).slots, RecordingHost(3).max_running) == (3, 256)
    host = RecordingHost(3, slots=2, max_running=5)
    assert (host.capacity, host.slots, host.max_running) == (3, 2, 5)


async def test_the_store_streams_and_lists_in_key_order(artifact):
    store = MemoryStore()
    await publish(store, artifact, "ft_1")
    store.objects["other/key"] = b""
    key = artifact_key("ft_1", WEIGHTS_FILE)
    assert [chunk async for chunk in store.read(key, chunk_bytes=3)] == [b"wei", b"ght", b"s"]
    sizes = [info.size_bytes async for info in store.list("artifacts/")]
    assert sizes == [7, 7]
    await store.close()


async def test_the_store_keeps_what_is_written_once_it_is_committed():
    store = MemoryStore()
    async with store.writer("a") as writer:
        await writer.write(b"wei")
        await writer.write(b"ghts")
        assert store.objects == {}
        await writer.commit()
    async with store.writer("b") as writer:
        await writer.write(b"half")
    await store.tidy(0.0)
    assert store.objects == {"a": b"weights"}
    assert [chunk async for chunk in store.read("a", start=2, length=3)] == [b"igh"]


async def test_the_store_has_no_object_under_an_unknown_key():
    with pytest.raises(ObjectNotFound):
        await anext(MemoryStore().read("no/such"))


async def test_waiting_for_what_never_comes_ends():
    with pytest.raises(TimeoutError):
        await until(lambda: False, seconds=0.0)
