"""Hostile safetensors files: what is not one, and headers that lie or cost."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

from adapters_registry.safetensors_header import MAX_HEADER_BYTES
from tests.hostile.case import HostileCase, good_weights, pickled, upload

Q_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
TENSOR: Mapping[str, Any] = {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}
_ROOM = MAX_HEADER_BYTES


def with_header(header: bytes | Mapping[str, Any], data: bytes = bytes(8)) -> bytes:
    """Put a true length in front of a header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def one(**changes: Any) -> bytes:
    """Return a file of one tensor that is said to be otherwise."""
    return with_header({Q_A: {**TENSOR, **changes}})


def _named(name: str) -> bytes:
    return with_header({name: TENSOR})


def _length(value: int) -> bytes:
    return value.to_bytes(8, "little") + good_weights()[8:]


def _two(first: list[int], second: list[int], size: int) -> bytes:
    tensors = {"a": {**TENSOR, "data_offsets": first}, "b": {**TENSOR, "data_offsets": second}}
    return with_header(tensors, bytes(size))


def _torch_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled())
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def _filled(entry: bytes, *, end: bytes = b"}") -> bytes:
    """Fill the allowed header with entries; `%d` in one is its number."""
    size = len(entry % 99_999) + 1
    body = b",".join(entry % n for n in range((_ROOM - 20) // size))
    return with_header(b"{" + body + end)


_NAMES = {
    "of no character": "",
    "with a space": "a b",
    "with a NUL": "a\0b",
    "with a line break": "a\nb",
    "with an escape": "\x1b[2J",
    "with DEL": "a\x7f",
    "outside ASCII": "\u00e9",
    "right to left": "\u202ea",
    "of an emoji": "\U0001f600",
    "of 513 characters": "a" * 513,
    "of 100,000 characters": "a" * 100_000,
}
_INVALID: dict[str, bytes] = {
    "empty": b"",
    "of seven bytes": bytes(7),
    "of a length alone": bytes(8),
    "of zeros": bytes(900_000),
    "a pickle": pickled(),
    "a pickle of protocol 4": b"\x80\x04\x95" + bytes(64),
    "a zip": upload(),
    "torch's zip": _torch_zip(),
    "a length of -1": _length((1 << 64) - 1),
    "a length of 2**63": _length(1 << 63),
    "a length of 2**63 - 1": _length((1 << 63) - 1),
    "a length of 2**32": _length(1 << 32),
    "a length of 100 MB": _length(100_000_000),
    "a length one too small": _length(int.from_bytes(good_weights()[:8], "little") - 1),
    "a length one too large": _length(int.from_bytes(good_weights()[:8], "little") + 1),
    "a length in the other byte order": good_weights()[:8][::-1] + good_weights()[8:],
    "a header over 1 MiB": with_header(b"{" + b" " * _ROOM + b"}"),
    "no tensor": with_header({}, b""),
    "metadata alone": with_header({"__metadata__": {"format": "pt"}}, b""),
    "a list": with_header(b"[]"),
    "a space first": with_header(b" {}"),
    "a byte order mark": with_header(b"\xef\xbb\xbf{}"),
    "bad UTF-8": with_header(b'{"\xff": 1}'),
    "a lone surrogate": with_header(b'{"__metadata__": {"a": "\\ud800"}}'),
    "text behind": with_header(json.dumps({"a": TENSOR}).encode() + b"x"),
    "NULs behind": with_header(json.dumps({"a": TENSOR}).encode() + bytes(8)),
    "NaN": with_header(b'{"a": {"dtype": "F16", "shape": [NaN], "data_offsets": [0, 8]}}'),
    "Infinity": with_header(b'{"a": {"dtype": "F16", "shape": [Infinity], "data_offsets": [0]}}'),
    "lists 500,000 deep": with_header(b'{"a":' + b"[" * 500_000),
    "objects 100,000 deep": with_header(b'{"a":' * 100_000),
    "a number of 100,000 digits": with_header(b'{"a":' + b"9" * 100_000 + b"}"),
    "a tensor twice": with_header(b'{"a": %b, "a": %b}' % ((json.dumps(TENSOR).encode(),) * 2)),
    "metadata twice": with_header(b'{"__metadata__": {}, "__metadata__": {}}'),
    "a field twice": with_header(
        b'{"a": {"dtype": "F16", "dtype": "F16", "shape": [4], "data_offsets": [0, 8]}}'
    ),
    "a field too many": one(extra=1),
    "a field too few": with_header({"a": {"dtype": "F16", "shape": [4]}}),
    "tensors as text": with_header({"a": "F16"}),
    "tensors as null": with_header({"a": None}),
    "a shape as a number": one(shape=4),
    "a shape as null": one(shape=None),
    "a shape of text": one(shape=["2", "2"]),
    "a shape of fractions": one(shape=[2.0, 2.0]),
    "a shape of truths": one(shape=[True, 4]),
    "a negative shape": one(shape=[-2, -2]),
    "an empty dimension": one(shape=[0, 4], data_offsets=[0, 0]),
    "no dimension": one(shape=[], data_offsets=[0, 2]),
    "nine dimensions": one(shape=[4, *[1] * 8]),
    "100,000 dimensions": one(shape=[1] * 100_000),
    "a shape over 64 bits": one(shape=[1 << 62, 1 << 62, 4]),
    "a shape that wraps to 8 bytes": one(shape=[(1 << 62) + 1, 4]),
    "a shape of 4,000 digits": one(shape=[10**4000, 1]),
    "offsets as text": one(data_offsets="08"),
    "offsets as null": one(data_offsets=None),
    "one offset": one(data_offsets=[8]),
    "three offsets": one(data_offsets=[0, 4, 8]),
    "fractional offsets": one(data_offsets=[0.0, 8.0]),
    "offsets the wrong way round": one(data_offsets=[8, 0]),
    "a negative offset": one(data_offsets=[-8, 0]),
    "an offset of minus nothing": with_header(
        b'{"a": {"dtype": "F16", "shape": [4], "data_offsets": [-0, 8]}}'
    ),
    "offsets past the end": one(data_offsets=[8, 16]),
    "offsets of 2**63": one(data_offsets=[1 << 63, (1 << 63) + 8]),
    "offsets of 2**64": one(data_offsets=[1 << 64, (1 << 64) + 8]),
    "offsets of 4,000 digits": one(data_offsets=[0, 10**4000]),
    "fewer bytes than the shape": one(shape=[5]),
    "more bytes than the shape": one(shape=[3]),
    "a hole at the start": _two([8, 16], [16, 24], 24),
    "a hole in the middle": _two([0, 8], [16, 24], 24),
    "an overlap": _two([0, 8], [4, 12], 12),
    "one place for two": _two([0, 8], [0, 8], 8),
    "one inside the other": _two([0, 8], [0, 8], 16),
    "bytes behind": with_header({Q_A: TENSOR}, bytes(9)),
    "a mebibyte behind": good_weights() + bytes(1 << 20),
    "one byte short": good_weights()[:-1],
    "no data": with_header({Q_A: TENSOR}, b""),
    "metadata as a list": with_header({"a": TENSOR, "__metadata__": []}),
    "metadata as null": with_header({"a": TENSOR, "__metadata__": None}),
    "metadata as text": with_header({"a": TENSOR, "__metadata__": "pt"}),
    "metadata of numbers": with_header({"a": TENSOR, "__metadata__": {"a": 1}}),
    "metadata of objects": with_header({"a": TENSOR, "__metadata__": {"a": {"b": "c"}}}),
    "metadata of 17 KiB": with_header({"a": TENSOR, "__metadata__": {"a": "x" * (17 << 10)}}),
    "metadata of 20,000 keys": with_header(
        {"a": TENSOR, "__metadata__": {str(n): "" for n in range(20_000)}}
    ),
}
_COSTLY: dict[str, Callable[[], bytes]] = {
    "100,000 tensors": lambda: with_header(
        b"{"
        + b",".join(
            b'"%d":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}' % n for n in range(100_000)
        )
        + b"}"
    ),
    "17,000 tensors": lambda: _filled(b'"%d":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}'),
    "100,000 numbers": lambda: _filled(b'"%d":1'),
    "100,000 lists": lambda: _filled(b'"%d":[]'),
    "100,000 objects": lambda: _filled(b'"%d":{}'),
    "100,000 texts": lambda: _filled(b'"%d":""'),
    "escapes": lambda: with_header(b'{"a":"' + b"\\u0041" * 170_000 + b'"}'),
    "surrogate pairs": lambda: with_header(b'{"a":"' + b"\\ud83d\\ude00" * 87_000 + b'"}'),
    "long numbers": lambda: with_header(b'{"a":[' + b",".join([b"9" * 4000] * 250) + b"]}"),
    "long fractions": lambda: with_header(
        b'{"a":[' + b",".join([b"0." + b"9" * 4000] * 250) + b"]}"
    ),
    "minus signs": lambda: with_header(b'{"a":[' + b"-0," * 340_000 + b"1]}"),
}
_DTYPES = (
    "F64",
    "F8_E4M3",
    "F8_E5M2",
    "I8",
    "I16",
    "I32",
    "I64",
    "U8",
    "U16",
    "U64",
    "BOOL",
    "C64",
)
_ODD_DTYPES = ("f16", "", "F16 ", "F16\0", "BF16\n", "x" * 100_000, None, 16, True, ["F16"], {})
_PATHS = (
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\x",
    "file:///etc/passwd",
    "a/../b",
    "$(id)",
    "{{7*7}}",
    "%s%n",
)

HEADERS = (
    *(
        HostileCase(
            f"safetensors {name}", "safetensors_invalid", lambda c=content: upload(weights=c)
        )
        for name, content in _INVALID.items()
    ),
    *(
        HostileCase(
            f"a header of {name}", "safetensors_invalid", lambda m=make: upload(weights=m())
        )
        for name, make in _COSTLY.items()
    ),
    *(
        HostileCase(
            f"a tensor name {name}", "safetensors_invalid", lambda t=text: upload(weights=_named(t))
        )
        for name, text in _NAMES.items()
    ),
    *(
        HostileCase(
            f"dtype {json.dumps(dtype)[:30]}", "dtype", lambda d=dtype: upload(weights=one(dtype=d))
        )
        for dtype in (*_DTYPES, *_ODD_DTYPES)
    ),
    *(
        HostileCase(
            f"a tensor called {name}", "tensor_name", lambda n=name: upload(weights=_named(n))
        )
        for name in _PATHS
    ),
)
