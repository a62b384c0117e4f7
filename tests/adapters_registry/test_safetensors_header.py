"""Headers: what safetensors itself writes is read; everything else is refused, and quickly."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from adapters_registry.errors import InvalidAdapter
from adapters_registry.safetensors_header import (
    MAX_HEADER_BYTES,
    MAX_METADATA_BYTES,
    TensorInfo,
    read_header,
)
from tests.stopwatch import cpu_time

TENSOR = {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}
VALID = save({"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.float16)}, {"format": "pt"})


def with_header(header: bytes | Mapping[str, Any], data: bytes = bytes(8)) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def one(**changes: Any) -> bytes:
    return with_header({"a": {**TENSOR, **changes}})


def refusal(path: Path, content: bytes) -> InvalidAdapter:
    path.write_bytes(content)
    with pytest.raises(InvalidAdapter) as caught:
        read_header(path)
    return caught.value


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("header") / "adapter_model.safetensors"


def test_file_written_by_safetensors_is_read(path: Path) -> None:
    arrays = {"b": np.ones((3, 2), np.float16), "a": np.ones((2, 4), np.float32)}
    save_file(arrays, path, metadata={"format": "pt"})
    size = path.stat().st_size

    header = read_header(path)

    assert header == {
        "a": TensorInfo("F32", (2, 4), size - 44, size - 12),
        "b": TensorInfo("F16", (3, 2), size - 12, size),
    }


def test_answer_cannot_be_changed(path: Path) -> None:
    path.write_bytes(VALID)

    with pytest.raises(TypeError):
        read_header(path)["c"] = TensorInfo("F16", (), 0, 0)  # type: ignore[index]


def test_positions_are_of_the_file(path: Path) -> None:
    path.write_bytes(VALID)
    place = read_header(path)["a"]

    assert VALID[place.start : place.end] == np.ones((2, 3), np.float32).tobytes()


SECOND = {"dtype": "F16", "shape": [1], "data_offsets": [8, 10]}
INVALID = {
    "an empty file": b"",
    "less than a length": b"\0\0\0",
    "a length of zero": bytes(8),
    "a length past the end": (1 << 63).to_bytes(8, "little") + b"{}",
    "no tensor": with_header({}, b""),
    "an array": with_header(b"[]"),
    "leading space": with_header(b" {}", b""),
    "bad UTF-8": with_header(b'{"\xff": 1}'),
    "a lone surrogate in metadata": with_header(b'{"__metadata__": {"a": "\\ud800"}}'),
    "trailing text": with_header(json.dumps({"a": TENSOR}).encode() + b"x"),
    "deep nesting": with_header(b'{"a":' + b"[" * 100_000),
    "deep nesting of objects": with_header(b'{"a":' * 100_000),
    "a huge number": with_header(b'{"a":' + b"9" * 100_000 + b"}"),
    "NaN": with_header(b'{"a": NaN}'),
    "a tensor given twice": with_header(
        b'{"a": %b, "a": %b}' % ((json.dumps(TENSOR).encode(),) * 2)
    ),
    "a field given twice": with_header(
        b'{"a": {"dtype": "F16", "dtype": "F16", "shape": [4], "data_offsets": [0, 8]}}'
    ),
    "an unknown field": one(extra=1),
    "a missing field": with_header({"a": {"dtype": "F16", "shape": [4]}}),
    "a tensor that is a string": with_header({"a": "F16"}),
    "a name with a space": with_header({"a b": TENSOR}),
    "a name with a line break": with_header({"a\n": TENSOR}),
    "an empty name": with_header({"": TENSOR}),
    "a name that is too long": with_header({"a" * 513: TENSOR}),
    "a shape that is a number": one(shape=4),
    "a negative shape": one(shape=[-2, -2]),
    "an empty dimension": one(shape=[0], data_offsets=[0, 0]),
    "a fractional shape": one(shape=[4.0]),
    "true in a shape": one(shape=[True, 4]),
    "too many dimensions": one(shape=[4, *[1] * 8]),
    "a shape that overflows 64 bits": one(shape=[1 << 62, 1 << 62, 4]),
    "a shape of numbers too long to print": one(shape=[10**4000, 10**4000]),
    "offsets too long to print": one(data_offsets=[0, 10**4299]),
    "offsets that are text": one(data_offsets="08"),
    "three offsets": one(data_offsets=[0, 4, 8]),
    "offsets the wrong way round": one(data_offsets=[8, 0]),
    "a negative offset": one(data_offsets=[-8, 0]),
    "too few bytes for the shape": one(shape=[5]),
    "a hole at the start": with_header({"a": {**TENSOR, "data_offsets": [8, 16]}}, bytes(16)),
    "a hole in the middle": with_header(
        {"a": TENSOR, "b": {**SECOND, "data_offsets": [10, 12]}}, bytes(12)
    ),
    "an overlap": with_header({"a": TENSOR, "b": {**SECOND, "data_offsets": [6, 8]}}),
    "two tensors in one place": with_header({"a": TENSOR, "b": TENSOR}),
    "bytes after the last tensor": with_header({"a": TENSOR}, bytes(9)),
    "a file cut off": with_header({"a": TENSOR}, bytes(7)),
    "metadata that is a list": with_header({"a": TENSOR, "__metadata__": []}),
    "metadata with a number": with_header({"a": TENSOR, "__metadata__": {"a": 1}}),
    "metadata that is too large": with_header(
        {"a": TENSOR, "__metadata__": {"a": "x" * MAX_METADATA_BYTES}}
    ),
}


@pytest.mark.parametrize("content", INVALID.values(), ids=INVALID.keys())
def test_broken_header_is_refused(content: bytes, path: Path) -> None:
    error = refusal(path, content)

    assert error.code == "safetensors_invalid"
    assert error.message.isascii()
    assert error.message.isprintable()


@pytest.mark.parametrize("dtype", ["F64", "I8", "U8", "BOOL", "F8_E4M3", "I64", "f16", "", None])
def test_other_number_types_have_their_own_code(dtype: str | None, path: Path) -> None:
    assert refusal(path, one(dtype=dtype)).code == "dtype"


def test_header_of_100_000_tensors_is_refused_before_it_is_parsed(path: Path) -> None:
    entry = b'"%06d":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}'
    content = with_header(b"{" + b",".join(entry % n for n in range(100_000)) + b"}")
    path.write_bytes(content)
    started = time.perf_counter()

    with pytest.raises(InvalidAdapter, match="header is 5800001 bytes long"):
        read_header(path)

    assert time.perf_counter() - started < 0.05


def test_more_tensors_than_allowed_are_refused(path: Path) -> None:
    entries = {f"{n}": {**TENSOR, "data_offsets": [8 * n, 8 * n + 8]} for n in range(4097)}
    path.write_bytes(with_header(entries, bytes(8 * 4097)))

    with pytest.raises(InvalidAdapter, match="holds 4097 tensors; 1 to 4096 are expected"):
        read_header(path)


def test_all_linear_layers_of_a_126_layer_model_fit(path: Path) -> None:
    targets = [f"self_attn.{x}_proj" for x in "qkvo"] + [f"mlp.{x}_proj" for x in ("gate", "up")]
    names = [
        f"base_model.model.model.layers.{layer}.{target}.lora_{side}.weight"
        for layer in range(126)
        for target in [*targets, "mlp.down_proj"]
        for side in "AB"
    ]
    save_file({name: np.ones((2, 2), np.float16) for name in names}, path)

    assert len(read_header(path)) == 1764


def slowest_headers() -> dict[str, bytes]:
    """Fill the allowed header with what costs a parser most."""
    room = MAX_HEADER_BYTES
    return {
        "objects": b"{" + b",".join(b'"%d":{}' % n for n in range(95_000)) + b"}",
        "numbers with names": b"{" + b",".join(b'"%d":1' % n for n in range(105_000)) + b"}",
        "texts": b"{" + b",".join(b'"%d":""' % n for n in range(95_000)) + b"}",
        "lists": b"{" + b",".join(b'"%d":[]' % n for n in range(95_000)) + b"}",
        "fields": b'{"a":{' + b",".join(b'"%d":1' % n for n in range(105_000)) + b"}}",
        "metadata": b'{"__metadata__":{' + b",".join(b'"%d":""' % n for n in range(95_000)) + b"}}",
        "objects in a list": b'{"a":[' + b"{}," * (room // 3 - 10) + b"{}]}",
        "lists in a list": b'{"a":[' + b"[]," * (room // 3 - 10) + b"[]]}",
        "a long list": b'{"a":[' + b"1," * (room // 2 - 10) + b"1]}",
        "all that may be counted": b"{"
        + b",".join(b'"%d":{"a":[1],"b":[1],"c":"%b"}' % (n, b"x" * 210) for n in range(4300))
        + b"}",
        "nested": b'{"a":' + b"[" * (room - 10),
        "long numbers": b'{"a":[' + (b"9" * 4000 + b",") * (room // 4001 - 1) + b"1]}",
        "escapes": b'{"a":"' + b"\\u0041" * (room // 6 - 10) + b'"}',
        "spaces": b"{" + b" " * (room - 2) + b"}",
    }


@pytest.mark.parametrize(
    "header", slowest_headers().values(), ids=[f"full of {name}" for name in slowest_headers()]
)
def test_worst_header_of_full_size_is_answered_within_50_milliseconds(
    header: bytes, path: Path
) -> None:
    assert MAX_HEADER_BYTES * 0.8 < len(header) <= MAX_HEADER_BYTES
    path.write_bytes(with_header(header))
    took = []
    for _ in range(3):  # the best of three: other work on the machine is not ours
        with cpu_time() as watch, pytest.raises(InvalidAdapter):
            read_header(path)
        took.append(watch.seconds)

    assert min(took) < 0.05


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["F16", "BF16", "F32", "I8", 0, 2, 8]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
TENSORS = st.fixed_dictionaries({"dtype": JSON, "shape": JSON, "data_offsets": JSON})
FUZZ = settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def answers_quickly(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with cpu_time() as watch, suppress(InvalidAdapter):
        read_header(path)
    assert watch.seconds < 0.05


@FUZZ
@example(edits=[], cut=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=6
    ),
    cut=st.none() | st.integers(0, len(VALID)),
)
def test_mutated_files_are_read_or_refused(
    edits: list[tuple[int, int]], cut: int | None, path: Path
) -> None:
    content = bytearray(VALID)
    for position, value in edits:
        content[position] = value

    answers_quickly(path, bytes(content[:cut]))


@FUZZ
@given(header=st.dictionaries(st.text() | st.just("__metadata__"), TENSORS | JSON, max_size=4))
def test_any_json_object_is_read_or_refused(header: dict[str, Any], path: Path) -> None:
    answers_quickly(path, with_header(json.dumps(header).encode("utf-8", "surrogatepass")))
