"""Wire types of reranking: the closed request and the answer.

**Source:** GroqCloud OpenAPI v2.1, `RerankingRequest`, `RerankingResponse`, `RerankingResult`.
"""

from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from app.validation import refused
from app.wire import Closed, ModelId

MAX_DOCS = 100
MAX_CHARACTERS = 2_000_000
"""Ours: of all pairs of query and document together. A body holds the query once, but it is read
with each document, so that its bytes do not bound the work."""

Text = Annotated[str, Field(min_length=1)]


class RerankingRequest(Closed):
    """The body of POST /reranking. `instruction` null is the model's own."""

    model: ModelId
    query: Text
    docs: Annotated[list[Text], Field(min_length=1, max_length=MAX_DOCS)]
    instruction: str | None = None

    @model_validator(mode="after")
    def pairs_are_bounded(self) -> Self:
        if self.characters > MAX_CHARACTERS:
            message = (
                "'docs' : the query, the instruction and each document may have at most "
                f"{MAX_CHARACTERS} characters, all pairs together"
            )
            raise refused(message, param="docs")
        return self

    @property
    def characters(self) -> int:
        """Characters that are read: with each document, the query and the instruction."""
        with_each = len(self.query) + len(self.instruction or "")
        return with_each * len(self.docs) + sum(map(len, self.docs))


class RerankingResult(BaseModel):
    """One document, as it was sent."""

    doc: str
    score: Annotated[float, Field(ge=0, le=1)]


class RerankingResponse(BaseModel):
    """The body of the answer: the most relevant document first."""

    results: list[RerankingResult]

    def json_bytes(self) -> bytes:
        """Write it as JSON."""
        return self.model_dump_json().encode()
