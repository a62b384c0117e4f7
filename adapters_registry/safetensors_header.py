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
from adapters_registry.strict_json import parse_object, shown
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
_NEGATIVE_ZERO = re.compile(rb"[\[,:]\s*-0\s*[,\]}]")
_FIELDS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor's place. `start` and `end` are byte positions in the file, not in its data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path) -> Mapping[str, TensorInfo]:
    """Return the tensors in the order of their bytes, which fill the file from header to end.

    Reads no more than the header; blocking. **Raises:** InvalidAdapter (`safetensors_invalid`,
    `dtype`).
    """
    with path.open("rb") as file:
        file_bytes = os.fstat(file.fileno()).st_size
        header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        data_start = _LENGTH_BYTES + header_bytes
        if data_start > file_bytes:
            raise _invalid(
                f"it ends at byte {file_bytes}, before its header does at byte {data_start}"
            )
        if header_bytes > MAX_HEADER_BYTES:
            raise _invalid(
                f"its header is {header_bytes} bytes long; at most {MAX_HEADER_BYTES} are expected"
            )
        entries = _parse(file.read(header_bytes))
    _check_metadata(entries.pop("__metadata__", {}))
    if not 0 < len(entries) <= MAX_TENSORS:
        raise _invalid(f"it holds {len(entries)} tensors; 1 to {MAX_TENSORS} are expected")
    tensors = {name: _tensor(name, entry, data_start) for name, entry in entries.items()}
    ordered = sorted(tensors.items(), key=lambda item: item[1].start)
    _check_contiguous(ordered, data_start, file_bytes)
    return MappingProxyType(dict(ordered))


def _parse(raw: bytes) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise _invalid("its header is not a JSON object")
    for mark, marks in _MARKS_OF_A_TENSOR.items():  # counting costs far less than parsing
        if raw.count(mark) > marks * MAX_TENSORS + _OTHER_MARKS:
            raise _invalid(f"it holds more than {MAX_TENSORS} tensors, or something else")
    if b"-0" in raw and _NEGATIVE_ZERO.search(raw):  # 0 to Python, no count to safetensors
        raise _invalid("its header holds a negative zero")
    try:
        return parse_object(raw)
    except ValueError as error:
        raise _invalid("its header is not a valid JSON object") from error


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _invalid("its __metadata__ must map strings to strings", "__metadata__")
    if (size := len(json.dumps(metadata))) > MAX_METADATA_BYTES:
        reason = f"its __metadata__ takes {size} bytes; at most {MAX_METADATA_BYTES} are expected"
        raise _invalid(reason, "__metadata__")


def _tensor(name: str, entry: object, data_start: int) -> TensorInfo:
    if not _NAME.fullmatch(name):
        raise _invalid(f"tensor name {shown(name)} is not 1 to 512 printable ASCII characters")
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise _invalid(f"tensor {name} must have dtype, shape and data_offsets and no more", name)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        message = (
            f"Tensor {name} has dtype {shown(dtype)}; F16, BF16 or F32 is expected."
            " Save the adapter in one of these, without quantisation."
        )
        raise InvalidAdapter("dtype", message, param=name)
    if not _are_counts(shape, 1) or len(shape) > _MAX_DIMENSIONS:
        raise _invalid(f"the shape of tensor {name} is not a short list of positive counts", name)
    if not _are_counts(offsets, 0) or len(offsets) != 2:
        raise _invalid(f"the data_offsets of tensor {name} are not two counts of bytes", name)
    start, end = offsets
    if end - start != (size := math.prod(shape) * ITEM_BYTES[dtype]):
        reason = f"tensor {name} has {end - start} bytes; its shape and dtype need {size}"
        raise _invalid(reason, name)
    return TensorInfo(dtype, tuple(shape), data_start + start, data_start + end)


def _are_counts(values: object, least: int) -> bool:
    # type() and not isinstance(): true is an int to Python.
    return isinstance(values, list) and all(type(v) is int and least <= v < 1 << 63 for v in values)


def _check_contiguous(
    ordered: list[tuple[str, TensorInfo]], data_start: int, file_bytes: int
) -> None:
    position = data_start
    for name, info in ordered:
        if info.start != position:
            reason = f"tensor {name} starts at byte {info.start}; {position} is expected"
            raise _invalid(f"{reason}, as tensors must neither overlap nor leave a hole", name)
        position = info.end
    if position != file_bytes:
        raise _invalid(f"its tensors end at byte {position} and the file at {file_bytes}")


def _invalid(reason: str, param: str = WEIGHTS_FILE) -> InvalidAdapter:
    message = (
        f"{WEIGHTS_FILE} is not an acceptable safetensors file: {reason}."
        " Save the adapter again and upload it whole."
    )
    return InvalidAdapter("safetensors_invalid", message, param=param)
