"""The segment operators against a float64 reference, and vLLM's own against the same."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from app.engine import cpu_lora_ops, segment_gemm

SLOTS, RANK, WIDTH_IN, WIDTH_OUT = 3, 16, 40, 56
OFFSET = 24

stock = importlib.import_module("vllm.lora.ops.torch_ops.lora_ops")


class Batch:
    """Random rows over slots -1..2; adapter s has rank 4 * (s + 1), padded to RANK with zeros."""

    def __init__(self, seed: int, runs: int = 9, *, longest: int = 5) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.slots = torch.randint(-1, SLOTS, (runs,), generator=self.random)
        self.lengths = torch.randint(1, longest + 1, (runs,), generator=self.random)
        self.tokens = torch.repeat_interleave(self.slots, self.lengths)
        self.a = torch.zeros(SLOTS, 1, RANK, WIDTH_IN)
        self.b = torch.zeros(SLOTS, 1, WIDTH_OUT, RANK)
        for slot in range(SLOTS):
            rank = 4 * (slot + 1)
            self.a[slot, 0, :rank] = self.randn(rank, WIDTH_IN)
            self.b[slot, 0, :, :rank] = self.randn(WIDTH_OUT, rank)

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random)

    def rows(self, width: int) -> Tensor:
        return self.randn(len(self.tokens), width)

    def runs(self) -> tuple[Any, ...]:
        """The arguments between the tensors and the options of vLLM's sgmv operators."""
        starts = torch.cumsum(self.lengths, 0) - self.lengths
        total = int(self.lengths.sum())
        return (
            starts,
            self.lengths,
            self.slots,
            len(self.slots),
            int(self.lengths.max()),
            total,
        )

    def reference(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """Return each row times its adapter's matrix, in float64; zeros where there is none."""
        out = torch.zeros(len(self.tokens), weights.shape[2], dtype=torch.float64)
        for row, slot in enumerate(self.tokens.tolist()):
            if slot >= 0:
                out[row] = weights[slot, 0].double() @ inputs[row].double()
        return out


SEEDS = range(6)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Compare within what summing some forty float32 products may lose."""
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("per_run", [True, False])
def test_shrink_writes_the_scaled_product_of_each_rows_own_adapter(seed: int, per_run: bool):
    batch = Batch(seed)
    inputs, output = batch.rows(WIDTH_IN), torch.zeros(len(batch.tokens), RANK)
    if per_run:
        segment_gemm.sgmv_shrink(inputs, batch.a, output, *batch.runs(), 0.5)
    else:
        segment_gemm.bgmv_shrink(inputs, batch.a, output, batch.tokens, 0.5)
    assert_close(output.double(), 0.5 * batch.reference(inputs, batch.a))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("per_run", [True, False])
def test_expand_adds_the_product_of_each_rows_own_adapter(seed: int, per_run: bool):
    batch = Batch(seed)
    inputs, output = batch.rows(RANK), batch.rows(WIDTH_OUT)
    expected = output.double() + batch.reference(inputs, batch.b)
    if per_run:
        segment_gemm.sgmv_expand(inputs, batch.b, output, *batch.runs(), True)
    else:
        segment_gemm.bgmv_expand(inputs, batch.b, output, batch.tokens, True)
    assert_close(output.double(), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("per_run", [True, False])
def test_expand_slice_touches_only_its_columns(seed: int, per_run: bool):
    batch = Batch(seed)
    inputs, output = batch.rows(RANK), batch.rows(OFFSET + WIDTH_OUT + 8)
    expected = output.double()
    expected[:, OFFSET : OFFSET + WIDTH_OUT] += batch.reference(inputs, batch.b)
    if per_run:
        segment_gemm.sgmv_expand_slice(
            inputs, batch.b, output, *batch.runs(), OFFSET, WIDTH_OUT, True
        )
    else:
        segment_gemm.bgmv_expand_slice(
            inputs, batch.b, output, batch.tokens, OFFSET, WIDTH_OUT, True
        )
    assert_close(output.double(), expected)


def test_expand_without_adding_replaces_adapter_rows_and_keeps_base_rows():
    batch = Batch(seed=3)
    inputs, output = batch.rows(RANK), batch.rows(WIDTH_OUT)
    before = output.clone()
    segment_gemm.bgmv_expand(inputs, batch.b, output, batch.tokens, False)
    base = batch.tokens < 0
    assert torch.equal(output[base], before[base])
    expected = batch.reference(inputs, batch.b)
    assert_close(output[~base].double(), expected[~base])


def test_expand_ignores_columns_that_the_model_does_not_have():
    batch = Batch(seed=4)
    inputs, output = batch.rows(RANK), batch.rows(WIDTH_OUT - 8)
    expected = output.double() + batch.reference(inputs, batch.b)[:, : WIDTH_OUT - 8]
    segment_gemm.bgmv_expand(inputs, batch.b, output, batch.tokens, True)
    assert_close(output.double(), expected)


def test_bfloat16_is_rounded_once_after_summing_in_float32():
    batch = Batch(seed=5, runs=30)
    weights, output = batch.b.bfloat16(), batch.rows(WIDTH_OUT).bfloat16()
    inputs = batch.rows(RANK)
    exact = output.double() + batch.reference(inputs, weights)
    segment_gemm.bgmv_expand(inputs, weights, output, batch.tokens, True)
    half_a_step = 2.0**-8
    assert ((output.double() - exact).abs() <= half_a_step * exact.abs() + 1e-4).all()


def test_a_batch_without_adapters_is_left_alone():
    output = torch.ones(4, RANK)
    slots = torch.full((4,), -1)
    segment_gemm.bgmv_shrink(torch.ones(4, WIDTH_IN), Batch(0).a, output, slots, 1.0)
    assert torch.equal(output, torch.ones(4, RANK))


def _base_rows_change(expand: Callable[..., None]) -> bool:
    batch = Batch(seed=7, runs=20)
    output = batch.rows(WIDTH_OUT)
    before = output.clone()
    expand(batch.rows(RANK), batch.b, output, *batch.runs(), True)
    base = batch.tokens < 0
    assert base.any()
    return not torch.equal(output[base], before[base])


def test_rows_without_an_adapter_stay_bit_for_bit_the_same():
    assert not _base_rows_change(segment_gemm.sgmv_expand)


def test_vllms_own_operator_leaks_the_last_slot_into_rows_without_an_adapter():
    """When this fails, vLLM has been mended: remove the plugin."""
    assert _base_rows_change(stock.sgmv_expand)


def test_operators_replace_all_that_the_cpu_wrapper_uses():
    torch_ops = importlib.import_module("vllm.lora.ops.torch_ops")
    assert set(segment_gemm.OPERATORS) == set(torch_ops.__all__)


@pytest.fixture
def punica_cpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module with vLLM's own operators in it, restored after the test."""
    module = importlib.import_module(cpu_lora_ops.PATCHED_MODULE)
    for name in segment_gemm.OPERATORS:
        monkeypatch.setattr(module, name, getattr(stock, name))
    return module


def _installed(module: ModuleType) -> bool:
    return all(getattr(module, name) is op for name, op in segment_gemm.OPERATORS.items())


def test_register_puts_the_operators_where_the_wrapper_looks_and_may_be_called_twice(
    punica_cpu: ModuleType,
):
    cpu_lora_ops.register()
    cpu_lora_ops.register()
    assert _installed(punica_cpu)


def test_register_leaves_another_vllm_version_alone(
    punica_cpu: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vllm.__version__", "0.33.0")
    cpu_lora_ops.register()
    assert not _installed(punica_cpu)


def test_register_leaves_another_platform_alone(
    punica_cpu: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    platforms = importlib.import_module("vllm.platforms")
    monkeypatch.setattr(type(platforms.current_platform), "is_cpu", lambda self: False)
    cpu_lora_ops.register()
    assert not _installed(punica_cpu)
