"""A CTranslate2 file is read to its last byte, and anything else than such a file is refused."""

from typing import Any

import numpy as np
import pytest

from deploy.quickstart.ctranslate2_file import NotReadable, read
from tests.deploy.quickstart.tiny_ctranslate2 import written

ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "weight": np.arange(6, dtype=np.float16).reshape(2, 3),
    "bias": np.array([-1.5, 2.5], np.float32),
    "heads": np.array(8, np.int16),
}
SMALL = written(ARRAYS, specification="Spec", aliases={"same": "weight"})


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_read_as_it_was_written(name: str) -> None:
    array = read(SMALL).arrays[name]

    assert array.dtype == ARRAYS[name].dtype
    assert array.shape == ARRAYS[name].shape
    assert array.tobytes() == ARRAYS[name].tobytes()


def test_an_alias_names_the_same_array() -> None:
    model = read(SMALL)

    assert model.specification == "Spec"
    assert model.arrays["same"] is model.arrays["weight"]


@pytest.mark.parametrize("size", range(len(SMALL)))
def test_a_file_cut_anywhere_is_refused(size: int) -> None:
    with pytest.raises(NotReadable):
        read(SMALL[:size])


def test_a_file_with_more_than_it_declares_is_refused() -> None:
    with pytest.raises(NotReadable, match="more in the file"):
        read(SMALL + b"\0")


def test_another_version_of_the_format_is_refused() -> None:
    with pytest.raises(NotReadable, match="version 5"):
        read(written(ARRAYS, aliases={}, version=5))


def test_an_alias_of_nothing_is_refused() -> None:
    with pytest.raises(NotReadable, match="nothing"):
        read(written(ARRAYS, aliases={"same": "nothing"}))


def test_an_unknown_type_of_array_is_refused() -> None:
    content = bytearray(written({"n": np.array(1, np.int8)}, aliases={}))
    content[-10] = 5

    with pytest.raises(NotReadable, match="type 5"):
        read(bytes(content))


def test_an_array_of_another_size_than_its_shape_is_refused() -> None:
    content = bytearray(written({"n": np.array(1, np.int8)}, aliases={}))
    content[-9] = 2

    with pytest.raises(NotReadable, match="shape"):
        read(bytes(content))
