"""Wire types of embeddings: the answer, and how its numbers are written.

The models describe the answer to readers of the document. It is written as bytes straight from the
vectors: hundreds of thousands of numbers would take a model's validation far longer.

**Source:** GroqCloud OpenAPI v2.1, `CreateEmbeddingResponse` and `Embedding`.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
from pydantic import BaseModel, Field

from app.api.embeddings.schemas import EncodingFormat
from app.engine.pooling import Vector


class Embedding(BaseModel):
    """One input's vector; `index` is the input's place in the request."""

    object: Literal["embedding"]
    index: int
    embedding: Annotated[
        list[float] | str,
        Field(description="Numbers, or the base64 of little-endian 32-bit floats."),
    ]


class EmbeddingUsage(BaseModel):
    """What the request took."""

    prompt_tokens: int
    total_tokens: int


class CreateEmbeddingResponse(BaseModel):
    """The body of the answer."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


def embedding_list(
    vectors: Sequence[Vector], encoding: EncodingFormat, *, model: str, tokens: int
) -> bytes:
    """Write the answer as JSON; the numbers are exactly the vectors' 32-bit floats."""
    write = _WRITERS[encoding]
    data = b",".join(
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, write(vector))
        for index, vector in enumerate(vectors)
    )
    usage = b'{"prompt_tokens":%d,"total_tokens":%d}' % (tokens, tokens)
    parts = (data, msgspec.json.encode(model), usage)
    return b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % parts


def _as_numbers(vector: Vector) -> bytes:
    # A 64-bit float is written, which holds the 32-bit one exactly.
    return msgspec.json.encode(vector.tolist())


def _as_base64(vector: Vector) -> bytes:
    return b'"%b"' % base64.b64encode(np.asarray(vector, "<f4").tobytes())


_WRITERS: Mapping[EncodingFormat, Callable[[Vector], bytes]] = {
    "float": _as_numbers,
    "base64": _as_base64,
}
