"""The models that are measured, as catalog entries: a random one that is nearly free, and SmolLM2.

Both compute in float32, in which greedy answers do not depend on what shares a batch with them.
"""

from pathlib import Path
from typing import Any

from app.catalog import ModelSpec
from app.engine.linear_shapes import linear_shapes
from deploy.quickstart import smollm2 as packaged
from deploy.quickstart.paths import MODELS, ROOT
from tests.fixtures.random_adapter import write_random_adapter
from tests.fixtures.tiny_llama import write_model

CACHE = ROOT / ".cache" / "benchmarks"
TINY, SMOLLM2 = "tiny-llama", "smollm2-135m-instruct"
MAX_LORAS = 2
RANK = 8
INSTANT = "benchmarks.instant_executor.InstantExecutor"


def tiny(running: int = 32) -> ModelSpec:
    """The two-layer random Llama: what it costs is everything but the model."""
    source = CACHE / TINY
    if not source.is_dir():
        write_model(source)
    return _entry(TINY, source, running, kv_bytes=24 << 20)


def smollm2(running: int = 16) -> ModelSpec:
    """SmolLM2-135M-Instruct: what it costs is the model."""
    return _entry(SMOLLM2, packaged.prepare(MODELS), running, kv_bytes=384 << 20)


SPECS = {TINY: tiny, SMOLLM2: smollm2}


def instant(spec: ModelSpec) -> ModelSpec:
    """Return the entry with an engine whose steps take no time."""
    executor = {"distributed_executor_backend": INSTANT}
    return spec.model_copy(update={"vllm": {**spec.vllm, **executor}})


def adapters(spec: ModelSpec, count: int) -> list[Path]:
    """Return directories of so many random adapters of the model, written where they are absent."""
    shapes = linear_shapes(spec.source, None, spec.task)
    found = []
    for seed in range(count):
        directory = CACHE / f"{spec.id}-adapter-{seed}"
        if not directory.is_dir():
            write_random_adapter(directory, shapes, seed, RANK)
        found.append(directory)
    return found


def document(spec: ModelSpec) -> dict[str, Any]:
    """Return the entry as a catalog file holds it."""
    return spec.model_dump(mode="json", exclude_unset=True)


def _entry(id: str, source: Path, running: int, kv_bytes: int) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "id": id,
            "task": "chat",
            "source": str(source),
            "context_window": 1024,
            "max_completion_tokens": 512,
            "vllm": {
                "dtype": "float32",
                "enforce_eager": True,
                "max_num_seqs": running,
                "kv_cache_memory_bytes": kv_bytes,
            },
            "lora": {
                "ranks": [RANK],
                "max_loras": MAX_LORAS,
                "max_cpu_loras": 8,
                "max_lora_rank": RANK,
            },
        }
    )
