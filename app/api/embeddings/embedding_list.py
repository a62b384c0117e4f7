"""Wire types of embeddings: the answer, and how its numbers are written.

The models describe the answer to readers of the document. It is written as bytes straight from the
vectors: hundreds of thousands of numbers would take a model's validation far longer. As text they
take several times the room of the vectors, so that a large answer is written while it is sent.

**Source:** GroqCloud OpenAPI v2.1, `CreateEmbeddingResponse` and `Embedding`.
"""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from pydantic import BaseModel, Field

from app.api.embeddings.schemas import EncodingFormat
from app.engine.pooling import Vector

NUMBERS_IN_PIECE = 1 << 14


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


@dataclass(frozen=True, slots=True)
class EmbeddingList:
    """An answer that has yet to be written; the numbers are exactly the vectors' 32-bit floats."""

    vectors: Sequence[Vector]
    encoding: EncodingFormat
    model: str
    tokens: int

    @property
    def is_large(self) -> bool:
        """Whether to send it piece by piece."""
        return sum(vector.size for vector in self.vectors) > NUMBERS_IN_PIECE

    def pieces(self) -> Iterator[bytes]:
        """Write the JSON, of which each piece takes a millisecond."""
        yield b'{"object":"list","data":['
        each = max(1, NUMBERS_IN_PIECE // max(1, self.vectors[0].size))
        for first in range(0, len(self.vectors), each):
            written = [self._item(index) for index in range(first, len(self.vectors))[:each]]
            yield (b"," if first else b"") + b",".join(written)
        usage = b'{"prompt_tokens":%d,"total_tokens":%d}' % (self.tokens, self.tokens)
        yield b'],"model":%b,"usage":%b}' % (msgspec.json.encode(self.model), usage)

    def _item(self, index: int) -> bytes:
        written = _WRITERS[self.encoding](self.vectors[index])
        return b'{"object":"embedding","index":%d,"embedding":%b}' % (index, written)


def _as_numbers(vector: Vector) -> bytes:
    # A 64-bit float is written, which holds the 32-bit one exactly.
    return msgspec.json.encode(vector.tolist())


def _as_base64(vector: Vector) -> bytes:
    return b'"%b"' % base64.b64encode(np.asarray(vector, "<f4").tobytes())


_WRITERS: Mapping[EncodingFormat, Callable[[Vector], bytes]] = {
    "float": _as_numbers,
    "base64": _as_base64,
}
