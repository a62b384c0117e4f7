"""10,000 damaged headers: each is refused at once, or means to safetensors what it means to us."""

from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save

from adapters_registry.errors import InvalidAdapter
from adapters_registry.safetensors_header import TensorInfo, read_header
from adapters_registry.types import WEIGHTS_FILE
from tests.adapters_registry.adapters import lora_tensors
from tests.hostile.mutations import mutations
from tests.stopwatch import cpu_time

COUNT = 10_000
MAX_SECONDS = 0.05


def test_damaged_header_is_refused_or_read_as_safetensors_reads_it(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS_FILE
    valid = save(lora_tensors(), {"format": "pt"})
    accepted, slowest = 0, 0.0
    for content in mutations(valid, COUNT, seed=20):
        path.write_bytes(content)
        with cpu_time() as watch:
            header = _read(path)
        slowest = max(slowest, watch.seconds)
        if header is not None:
            accepted += 1
            assert _as_safetensors_reads(path) == {
                name: (info.dtype, info.shape) for name, info in header.items()
            }

    assert slowest < MAX_SECONDS
    assert COUNT // 50 < accepted < COUNT // 2, "the damage must be neither fatal nor harmless"


def _read(path: Path) -> dict[str, TensorInfo] | None:
    try:
        return dict(read_header(path))
    except InvalidAdapter:
        return None


def _as_safetensors_reads(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    with safe_open(path, framework="np") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: (s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}
