"""Reads CTranslate2's `model.bin`: named arrays behind a short header, all little-endian.

**Source:** `ctranslate2.specs.model_spec`, binary version 6. Other versions and quantized weights
are refused, for nothing here needs them.
"""

import struct
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

VERSION = 6
DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}

Arrays = dict[str, NDArray[np.generic]]


class NotReadable(ValueError):
    """The bytes are not a CTranslate2 model of the one version that is read here."""


@dataclass(frozen=True)
class Model:
    """What a file holds: the kind of model, and its arrays by name (views of the bytes)."""

    specification: str
    arrays: Arrays


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._at = 0

    def take(self, size: int) -> memoryview:
        end = self._at + size
        if end > len(self._content):
            raise NotReadable("the file ends in the middle of an entry")
        part, self._at = self._content[self._at : end], end
        return part

    def number(self, form: str) -> int:
        (value,) = struct.unpack(f"<{form}", self.take(struct.calcsize(form)))
        return int(value)

    def text(self) -> str:
        # The length counts the zero byte at the end.
        return bytes(self.take(self.number("H"))[:-1]).decode()

    def array(self) -> NDArray[np.generic]:
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        code, size = self.number("B"), self.number("I")
        if code not in DTYPES:
            raise NotReadable(f"arrays of type {code} are not read")
        dtype = np.dtype(DTYPES[code])
        if size != prod(shape) * dtype.itemsize:
            raise NotReadable("an array's shape and its number of bytes differ")
        return np.frombuffer(self.take(size), dtype).reshape(shape)

    def is_at_end(self) -> bool:
        return self._at == len(self._content)


def read(content: bytes) -> Model:
    """Return the arrays of a `model.bin`, aliases included. **Raises:** NotReadable."""
    reader = _Reader(content)
    version = reader.number("I")
    if version != VERSION:
        raise NotReadable(f"binary version {version} instead of {VERSION}")
    specification, _revision = reader.text(), reader.number("I")
    arrays: Arrays = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        arrays[name] = reader.array()
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        if name not in arrays:
            raise NotReadable(f"an alias of {name}, which is not there")
        arrays[alias] = arrays[name]
    if not reader.is_at_end():
        raise NotReadable("there is more in the file than it declares")
    return Model(specification, arrays)
