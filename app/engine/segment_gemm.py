"""LoRA operators as one dense product per active adapter; drop-in for vLLM's CPU operators.

A batch's rows are grouped by adapter slot. Each group meets its adapter's matrices in one matrix
product; rows of slot -1 have no adapter and are neither read nor written. Products are summed in
float32 and rounded once, to the type of the tensor they end in. Each is called as its namesake in
vllm.lora.ops.torch_ops.lora_ops (0.32).
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor

Rows: TypeAlias = slice | Tensor
Groups: TypeAlias = tuple[tuple[int, Rows], ...]


@lru_cache(maxsize=32)
def rows_by_slot(slots: tuple[int, ...], lengths: tuple[int, ...]) -> Groups:
    """Return (slot, its rows) for each active slot of a batch made of consecutive runs.

    Run i is `lengths[i]` rows of slot `slots[i]`. Cached, because every layer of one step asks the
    same.
    """
    spans: dict[int, list[tuple[int, int]]] = {}
    start = 0
    for slot, length in zip(slots, lengths, strict=True):
        if slot >= 0 and length:
            spans.setdefault(slot, []).append((start, start + length))
        start += length
    return tuple((slot, _as_rows(parts)) for slot, parts in spans.items())


def _as_rows(spans: list[tuple[int, int]]) -> Rows:
    if len(spans) == 1:
        return slice(*spans[0])
    return torch.cat([torch.arange(start, stop) for start, stop in spans])


def _token_groups(indices: Tensor) -> Groups:
    slots = tuple(indices.tolist())
    return rows_by_slot(slots, (1,) * len(slots))


def _run_groups(starts: Tensor, lengths: Tensor, indices: Tensor, *totals: int) -> Groups:
    return rows_by_slot(tuple(indices.tolist()), tuple(lengths.tolist()))


def _product(inputs: Tensor, rows: Rows, weights: Tensor, slot: int) -> Tensor:
    """Return `inputs[rows] @ weights[slot].T`, **shape** (rows, out) float32."""
    matrix = weights[slot].squeeze(0).float()
    return inputs[rows].float() @ matrix.T


def _shrink(
    inputs: Tensor, weights: Tensor, output: Tensor, groups: Groups, scaling: float
) -> None:
    for slot, rows in groups:
        product = _product(inputs, rows, weights, slot)
        output[rows, : product.shape[1]] = (product * scaling).to(output.dtype)


def _expand(
    inputs: Tensor, weights: Tensor, output: Tensor, groups: Groups, add_inputs: bool
) -> None:
    for slot, rows in groups:
        # The model may pad its output less or more than the adapter does.
        width = min(weights.shape[-2], output.shape[1])
        product = _product(inputs, rows, weights, slot)[:, :width]
        if add_inputs:
            product = output[rows, :width] + product
        output[rows, :width] = product.to(output.dtype)


def bgmv_shrink(
    inputs: Tensor,
    lora_b_weights: Tensor,
    output_tensor: Tensor,
    lora_indices_tensor: Tensor,
    scaling: float = 1.0,
) -> None:
    """Write `scaling * inputs @ A.T` to the rows that have an adapter, one index a row."""
    groups = _token_groups(lora_indices_tensor)
    _shrink(inputs, lora_b_weights, output_tensor, groups, scaling)


def bgmv_expand(
    inputs: Tensor,
    lora_b_weights: Tensor,
    output_tensor: Tensor,
    lora_indices_tensor: Tensor,
    add_inputs: bool = True,
) -> None:
    """Add (or write) `inputs @ B.T` to the rows that have an adapter, one index a row."""
    groups = _token_groups(lora_indices_tensor)
    _expand(inputs, lora_b_weights, output_tensor, groups, add_inputs)


def bgmv_expand_slice(
    inputs: Tensor,
    lora_b_weights: Tensor,
    output_tensor: Tensor,
    lora_indices_tensor: Tensor,
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = True,
) -> None:
    """Like bgmv_expand, into `slice_size` columns from `slice_offset`."""
    groups = _token_groups(lora_indices_tensor)
    columns = output_tensor[:, slice_offset : slice_offset + slice_size]
    _expand(inputs, lora_b_weights, columns, groups, add_inputs)


def sgmv_shrink(
    inputs: Tensor, lora_a_weights: Tensor, output_tensor: Tensor, *runs_and_scaling: Any
) -> None:
    """Like bgmv_shrink, one index a run of rows.

    **Source:** the last arguments are PunicaWrapperBase.prefill_metadata (0.32) and the scaling.
    """
    *runs, scaling = runs_and_scaling
    _shrink(inputs, lora_a_weights, output_tensor, _run_groups(*runs), scaling)


def sgmv_expand(
    inputs: Tensor, lora_b_weights: Tensor, output_tensor: Tensor, *runs_and_add_inputs: Any
) -> None:
    """Like bgmv_expand, one index a run of rows; arguments as in sgmv_shrink."""
    *runs, add_inputs = runs_and_add_inputs
    _expand(inputs, lora_b_weights, output_tensor, _run_groups(*runs), add_inputs)


def sgmv_expand_slice(
    inputs: Tensor, lora_b_weights: Tensor, output_tensor: Tensor, *runs_and_slice: Any
) -> None:
    """Like bgmv_expand_slice, one index a run of rows; arguments as in sgmv_shrink."""
    *runs, slice_offset, slice_size, add_inputs = runs_and_slice
    columns = output_tensor[:, slice_offset : slice_offset + slice_size]
    _expand(inputs, lora_b_weights, columns, _run_groups(*runs), add_inputs)


OPERATORS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        operator.__name__: operator
        for operator in (
            bgmv_expand,
            bgmv_expand_slice,
            bgmv_shrink,
            sgmv_expand,
            sgmv_expand_slice,
            sgmv_shrink,
        )
    }
)
