"""The header of an untrusted safetensors file, checked before any other library sees the file.

It refuses more than the format does: only the float types of LoRA weights, no hole, overlap or
trailing byte, no empty tensor, printable ASCII names, small metadata. The tensors' values and the
meaning of their names are not looked at.

Source: safetensors format description, "Format" (0.8).
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from adapters_registry.errors import InvalidAdapter
from adapters_registry.strict_json import parse_object
from adapters_registry.types import WEIGHTS_FILE

MAX_HEADER_BYTES = 1 << 20
MAX_TENSORS = 4096
"""A 126-layer model with 7 targets in each layer needs 1,764, and 300 KB of header."""
MAX_METADATA_BYTES = 16 << 10
ITEM_BYTES = {"F16": 2, "BF16": 2, "F32": 4}

_LENGTH_BYTES = 8
_MARKS_OF_A_TENSOR = {b"{": 1, b"[": 2, b":": 4}
_OTHER_MARKS = 1024
"""For the header itself and its metadata, whose texts may be JSON again."""
_MAX_DIMENSIONS = 8
_NAME = re.compile(r"[!-~]{1,512}")
_FIELDS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor's place. `start` and `end` are byte positions in the file, not in its data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path, *, max_tensors: int = MAX_TENSORS) -> Mapping[str, TensorInfo]:
    """Return the tensors in the order of their bytes, which fill the file from header to end.

    `max_tensors` counts up to `MAX_TENSORS`. Reads no more than the header; blocking.
    **Raises:** InvalidAdapter (`safetensors_invalid`, `dtype`).
    """
    max_tensors = min(max_tensors, MAX_TENSORS)
    with path.open("rb") as file:
        file_bytes = os.fstat(file.fileno()).st_size
        header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        data_start = _LENGTH_BYTES + header_bytes
        if data_start > file_bytes:
            raise _invalid("the file ends before its header does")
        if header_bytes > MAX_HEADER_BYTES:
            raise _invalid(f"its header is larger than {MAX_HEADER_BYTES} bytes")
        entries = _parse(file.read(header_bytes), max_tensors)
    _check_metadata(entries.pop("__metadata__", {}))
    if not 0 < len(entries) <= max_tensors:
        raise _invalid(f"it holds {len(entries)} tensors; 1 to {max_tensors} are expected")
    tensors = {name: _tensor(name, entry, data_start) for name, entry in entries.items()}
    ordered = sorted(tensors.items(), key=lambda item: item[1].start)
    _check_contiguous(ordered, data_start, file_bytes)
    return MappingProxyType(dict(ordered))


def _parse(raw: bytes, max_tensors: int) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise _invalid("its header is not a JSON object")
    for mark, marks in _MARKS_OF_A_TENSOR.items():  # counting costs far less than parsing
        if raw.count(mark) > marks * max_tensors + _OTHER_MARKS:
            raise _invalid(f"it holds more than {max_tensors} tensors")
    try:
        return parse_object(raw)
    except ValueError as error:
        raise _invalid("its header is not a valid JSON object") from error


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _invalid("__metadata__ must map strings to strings", "__metadata__")
    if len(json.dumps(metadata)) > MAX_METADATA_BYTES:
        raise _invalid(f"__metadata__ is larger than {MAX_METADATA_BYTES} bytes", "__metadata__")


def _tensor(name: str, entry: object, data_start: int) -> TensorInfo:
    if not _NAME.fullmatch(name):
        raise _invalid("a tensor name is not 1 to 512 printable ASCII characters")
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise _invalid("a tensor has other fields than dtype, shape and data_offsets", name)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise InvalidAdapter(
            "dtype", "Tensors must be stored as F16, BF16 or F32, without quantisation.", param=name
        )
    if not _are_counts(shape, 1) or len(shape) > _MAX_DIMENSIONS:
        raise _invalid("a tensor's shape is not a short list of positive whole numbers", name)
    if not _are_counts(offsets, 0) or len(offsets) != 2:
        raise _invalid("a tensor's data_offsets are not two whole numbers", name)
    start, end = offsets
    if end - start != math.prod(shape) * ITEM_BYTES[dtype]:
        raise _invalid("a tensor's bytes do not match its shape and dtype", name)
    return TensorInfo(dtype, tuple(shape), data_start + start, data_start + end)


def _are_counts(values: object, least: int) -> bool:
    # type() and not isinstance(): true is an int to Python.
    return isinstance(values, list) and all(type(v) is int and v >= least for v in values)


def _check_contiguous(
    ordered: list[tuple[str, TensorInfo]], data_start: int, file_bytes: int
) -> None:
    position = data_start
    for name, info in ordered:
        if info.start != position:
            raise _invalid("tensors overlap or leave a hole", name)
        position = info.end
    if position != file_bytes:
        raise _invalid("the tensors do not end where the file ends")


def _invalid(reason: str, param: str = WEIGHTS_FILE) -> InvalidAdapter:
    message = f"{WEIGHTS_FILE} is not an acceptable safetensors file: {reason}."
    return InvalidAdapter("safetensors_invalid", message, param=param)
