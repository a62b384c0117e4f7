"""Adapters in one real engine, above all after something went wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters_registry.errors import AdapterLoadFailed
from adapters_registry.host import AdapterHost
from adapters_registry.types import LoadedAdapter
from app.engine.base import EngineDead
from tests.fixtures.engines import MAX_CPU_LORAS, TinyEngine
from tests.fixtures.tiny_llama import KEY_VALUE

pytestmark = pytest.mark.engine


@pytest.fixture
def host(tiny_engine: TinyEngine) -> AdapterHost:
    adapters = tiny_engine.engine.adapters
    assert adapters is not None
    return adapters


async def _answer(tiny: TinyEngine, host: AdapterHost, adapter: LoadedAdapter) -> str:
    await host.load(adapter)
    try:
        return await tiny.text(tiny.job(), adapter)
    finally:
        await host.unload(adapter)


async def test_each_adapter_changes_the_answer_in_its_own_way(
    tiny_engine: TinyEngine, host: AdapterHost
):
    answers = {
        await tiny_engine.text(tiny_engine.job()),
        await _answer(tiny_engine, host, tiny_engine.adapter(1)),
        await _answer(tiny_engine, host, tiny_engine.adapter(2)),
        await _answer(tiny_engine, host, tiny_engine.adapter(2, rank=16)),
    }
    assert len(answers) == 4


async def test_an_adapter_that_this_engine_was_never_told_of_is_not_taken_in(
    tiny_engine: TinyEngine,
):
    """Its lease is of an engine that has died."""
    before = await tiny_engine.known()
    with pytest.raises(EngineDead):
        await tiny_engine.text(tiny_engine.job(), tiny_engine.adapter(5))
    assert await tiny_engine.known() == before


async def test_unloading_twice_is_no_error(tiny_engine: TinyEngine, host: AdapterHost):
    adapter = tiny_engine.adapter(3)
    await host.load(adapter)
    await host.unload(adapter)
    await host.unload(adapter)


async def test_the_host_says_how_many_it_holds_and_which_layers_may_change(host: AdapterHost):
    assert host.capacity == MAX_CPU_LORAS
    assert set(host.ranks) == {8, 16}
    assert host.shapes["model.layers.1.self_attn.q_proj"] == (128, 128)


def _broken(tiny: TinyEngine, directory: Path, config: dict[str, object]) -> LoadedAdapter:
    """Return adapter 4 with changes to its configuration, in a directory of its own."""
    whole = tiny.adapter(4)
    values = json.loads((whole.path / "adapter_config.json").read_text()) | config
    (directory / "adapter_config.json").write_text(json.dumps(values))
    weights = (whole.path / "adapter_model.safetensors").read_bytes()
    (directory / "adapter_model.safetensors").write_bytes(weights)
    return replace(tiny.adapter(4), path=directory)


@pytest.mark.parametrize("config", [{"r": 64}, {"modules_to_save": ["embed_tokens", "x"]}])
async def test_a_failed_load_leaves_the_engine_clean_and_answering(
    tiny_engine: TinyEngine, host: AdapterHost, tmp_path: Path, config: dict[str, object]
):
    expected = await _answer(tiny_engine, host, tiny_engine.adapter(4))
    broken = _broken(tiny_engine, tmp_path, config)
    for _ in range(2):
        with pytest.raises(AdapterLoadFailed):
            await host.load(broken)
    assert await _answer(tiny_engine, host, tiny_engine.adapter(4)) == expected


def _reshaped(tiny: TinyEngine, directory: Path, rows: int) -> LoadedAdapter:
    """Return adapter 4 with `rows` rows in the B of each v_proj, under a good configuration."""
    whole = tiny.adapter(4)
    tensors = load_file(whole.path / "adapter_model.safetensors")
    for name in list(tensors):
        if name.endswith("v_proj.lora_B.weight"):
            tensors[name] = torch.ones(rows, tensors[name].shape[1])
    save_file(tensors, directory / "adapter_model.safetensors")
    config = (whole.path / "adapter_config.json").read_bytes()
    (directory / "adapter_config.json").write_bytes(config)
    return replace(tiny.adapter(4), path=directory)


async def test_a_load_that_breaks_off_in_the_copy_leaves_nothing_that_a_second_call_would_serve(
    tiny_engine: TinyEngine, host: AdapterHost, tmp_path: Path
):
    expected = await _answer(tiny_engine, host, tiny_engine.adapter(4))
    broken = _reshaped(tiny_engine, tmp_path, KEY_VALUE + 8)
    for _ in range(2):
        with pytest.raises(AdapterLoadFailed):
            await host.load(broken)
        assert broken.engine_id not in await tiny_engine.known()
    assert await _answer(tiny_engine, host, tiny_engine.adapter(4)) == expected


async def test_the_engine_itself_would_load_a_tensor_that_is_too_short(
    tiny_engine: TinyEngine, host: AdapterHost, tmp_path: Path
):
    """Only our own check stands before that; should vLLM begin to check, this fails."""
    short = _reshaped(tiny_engine, tmp_path, KEY_VALUE - 8)
    await host.load(short)
    await host.unload(short)


async def test_a_missing_directory_fails_the_load_only(tiny_engine: TinyEngine, host: AdapterHost):
    adapter = replace(tiny_engine.adapter(5), path=Path("/nowhere/at/all"))
    with pytest.raises(AdapterLoadFailed):
        await host.load(adapter)
    await tiny_engine.engine.check()


async def test_a_relative_path_never_reaches_the_engine(tiny_engine: TinyEngine, host: AdapterHost):
    with pytest.raises(ValueError, match="relative"):
        await host.load(replace(tiny_engine.adapter(6), path=Path("org/adapter")))
