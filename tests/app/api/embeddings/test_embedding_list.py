"""The answer as it is written: valid, and the very numbers of the model."""

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.embeddings.embedding_list import (
    NUMBERS_IN_PIECE,
    CreateEmbeddingResponse,
    EmbeddingList,
)
from app.engine.pooling import Vector
from tests.stopwatch import cpu_time

FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1)


def body(encoding: Any, *vectors: Vector, model: str = "m", tokens: int = 3) -> bytes:
    return b"".join(EmbeddingList(vectors, encoding, model, tokens).pieces())


def written(encoding: Any, *vectors: Vector) -> Any:
    return json.loads(body(encoding, *vectors))


@given(FLOATS)
def test_base64_is_the_little_endian_floats_bit_by_bit(numbers: list[float]) -> None:
    (one,) = written("base64", np.array(numbers, np.float32))["data"]
    packed = base64.b64decode(one["embedding"], validate=True)
    assert packed == struct.pack(f"<{len(numbers)}f", *numbers)


@given(FLOATS)
def test_numbers_are_the_same_floats_bit_by_bit(numbers: list[float]) -> None:
    vector = np.array(numbers, np.float32)
    (one,) = written("float", vector)["data"]
    assert np.array(one["embedding"], np.float32).tobytes() == vector.tobytes()


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_a_vector_that_is_part_of_a_larger_array_is_written_alike(encoding: Any) -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    column = matrix[:, 1]
    assert written(encoding, column) == written(encoding, column.copy())


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_the_answer_is_what_its_model_describes(encoding: Any) -> None:
    vectors = [np.array([index, 0.1], np.float32) for index in range(3)]
    told = body(encoding, *vectors, model='m"é', tokens=7)
    answer = CreateEmbeddingResponse.model_validate_json(told, strict=True)
    assert [one.index for one in answer.data] == [0, 1, 2]
    assert answer.model == 'm"é'
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (7, 7)
    assert list(json.loads(told)) == ["object", "data", "model", "usage"]


@pytest.mark.parametrize(("encoding", "seconds"), [("base64", 0.02), ("float", 0.15)])
def test_many_vectors_are_written_in_milliseconds(encoding: Any, seconds: float) -> None:
    vectors = list(np.random.default_rng(0).standard_normal((256, 384)).astype(np.float32))
    with cpu_time() as watch:
        body(encoding, *vectors)
    assert watch.seconds < seconds


@pytest.mark.parametrize("dimensions", [1, 384, 1000, NUMBERS_IN_PIECE + 1])
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_pieces_are_small_and_make_the_whole(encoding: Any, dimensions: int) -> None:
    vectors = list(np.random.default_rng(0).standard_normal((100, dimensions)).astype(np.float32))
    answer = EmbeddingList(vectors, encoding, "m", 1)
    largest = max(map(len, answer.pieces()))
    assert largest < 30 * max(NUMBERS_IN_PIECE, dimensions)
    assert answer.is_large == (100 * dimensions > NUMBERS_IN_PIECE)
    data = json.loads(b"".join(answer.pieces()))["data"]
    assert [one["index"] for one in data] == list(range(100))
