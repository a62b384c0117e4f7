"""Starting engines: what is refused, and that nothing is left behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.catalog import Catalog, ChatSpec, ModelSpec
from app.engine.base import EngineStartError
from app.engine.factory import start_engines


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
