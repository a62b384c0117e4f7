"""Starting engines: what is refused, and that nothing is left behind."""

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from vllm import envs

from app.catalog import Catalog, ChatSpec, ModelSpec
from app.engine import factory
from app.engine.base import EngineStartError
from app.engine.factory import start_engines
from tests.app.engine.barrier_engine import BarrierEngine


def _spec(task: str, source: str, **vllm: object) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "id": f"{task}-model",
            "task": task,
            "source": source,
            "context_window": 64,
            "max_completion_tokens": 64,
            "vllm": vllm,
        }
    )


@pytest.fixture
def barrier(monkeypatch: pytest.MonkeyPatch) -> type[BarrierEngine]:
    """Engines of task `embedding` that start only if two of them start at once."""
    place = (BarrierEngine.__module__, BarrierEngine.__name__)
    monkeypatch.setattr(factory, "IMPLEMENTATIONS", {"embedding": place})
    BarrierEngine.barrier = asyncio.Barrier(2)
    BarrierEngine.open = set()
    return BarrierEngine


def _waiting(*ids: str, optional: bool = False) -> list[ModelSpec]:
    return [ModelSpec(id=id, task="embedding", source=".", optional=optional) for id in ids]


async def test_all_models_start_at_once(barrier: type[BarrierEngine]):
    async with asyncio.timeout(10):
        engines = await start_engines(Catalog(models=tuple(_waiting("one", "other"))))

    assert list(engines.running) == ["one", "other"]
    await engines.close()
    assert barrier.open == set()


async def test_an_optional_model_that_fails_leaves_the_others_up(barrier: type[BarrierEngine]):
    models = (*_waiting("one"), *_waiting("fails", optional=True))
    async with asyncio.timeout(10):
        engines = await start_engines(Catalog(models=models))

    assert list(engines.running) == ["one"]
    assert list(engines.absent) == ["fails"]
    assert barrier.open == {"one"}


async def test_vllm_reads_its_environment_once_all_have_started(
    barrier: type[BarrierEngine], monkeypatch: pytest.MonkeyPatch
):
    engines = await start_engines(Catalog(models=tuple(_waiting("one", "other"))))
    level = envs.VLLM_LOGGING_LEVEL
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", f"not {level}")
    assert level == envs.VLLM_LOGGING_LEVEL
    await engines.close()


async def test_any_other_model_that_fails_ends_them_all(barrier: type[BarrierEngine]):
    async with asyncio.timeout(10):
        with pytest.raises(EngineStartError, match="model fails: no"):
            await start_engines(Catalog(models=tuple(_waiting("one", "fails"))))

    assert barrier.open == set()


async def test_a_backend_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    place = ("app.engine.not_installed", "Engine")
    monkeypatch.setattr(factory, "IMPLEMENTATIONS", {"embedding": place})
    with pytest.raises(EngineStartError, match="model one: its backend is not installed"):
        await start_engines(Catalog(models=tuple(_waiting("one"))))


async def test_a_wrong_vllm_argument_stops_the_start(tiny_model: Path):
    catalog = Catalog(models=(_spec("chat", str(tiny_model), nonsense=1),))
    with pytest.raises(EngineStartError, match=r"chat-model: vllm\.nonsense"):
        await start_engines(catalog)


@pytest.mark.parametrize("kind", ["tool_parser", "reasoning_parser"])
async def test_a_parser_that_vllm_does_not_know_is_named(tiny_model: Path, kind: str):
    spec = _spec("chat", str(tiny_model))
    wrong = spec.model_copy(update={"chat": ChatSpec.model_validate({kind: "nonsense"})})
    with pytest.raises(EngineStartError, match=r"chat-model: chat: .*nonsense"):
        await start_engines(Catalog(models=(wrong,)))


async def test_a_directory_without_a_model_is_named(tmp_path: Path):
    catalog = Catalog(models=(_spec("chat", str(tmp_path)),))
    with pytest.raises(EngineStartError, match="model chat-model: vLLM"):
        await start_engines(catalog)


def test_importing_the_factory_and_the_plugin_loads_neither_vllm_nor_torch():
    code = (
        "import sys, app.engine.factory, app.engine.cpu_lora_ops, app.engine.base;"
        "print([name for name in ('vllm', 'torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


BROKEN = """
import asyncio, psutil

class BrokenEngine:
    @classmethod
    async def start(cls, spec, metrics):
        while len(psutil.Process().children()) == {children}:
            await asyncio.sleep(0.01)
        raise {error}("a library broke")
"""
"""Waits for another model's process, and fails."""


def _broken(monkeypatch: pytest.MonkeyPatch, directory: Path, error: str) -> ModelSpec:
    module = f"broken_by_{error}"
    children = len(psutil.Process().children())
    (directory / f"{module}.py").write_text(BROKEN.format(error=error, children=children))
    monkeypatch.syspath_prepend(directory)
    implementations = {**factory.IMPLEMENTATIONS, "chat": (module, "BrokenEngine")}
    monkeypatch.setattr(factory, "IMPLEMENTATIONS", implementations)
    return _spec("chat", "nowhere")


def _piper(voice: Path) -> ModelSpec:
    speech = {"backend": "piper"}
    return ModelSpec.model_validate(
        {"id": "piper", "task": "speech", "source": str(voice.parent), "speech": speech}
    )


async def test_an_error_that_nobody_expects_leaves_no_process(
    piper_voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = _broken(monkeypatch, tmp_path, "RuntimeError")
    before = set(psutil.Process().children())
    with pytest.raises(EngineStartError, match=r"chat-model: .*RuntimeError: a library broke"):
        await start_engines(Catalog(models=(broken, _piper(piper_voice))))
    assert set(psutil.Process().children()) == before


async def test_an_error_that_nobody_expects_takes_an_optional_model_alone(
    piper_voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = _broken(monkeypatch, tmp_path, "LookupError").model_copy(update={"optional": True})
    engines = await start_engines(Catalog(models=(broken, _piper(piper_voice))))
    assert (list(engines.running), list(engines.absent)) == (["piper"], [broken.id])
    await engines.close()
