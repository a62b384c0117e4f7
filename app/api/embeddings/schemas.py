"""Wire types of embeddings: the closed request.

**Source:** GroqCloud OpenAPI v2.1, `CreateEmbeddingRequest`; token ids as inputs are OpenAI's
(openai.types.embedding_create_params, 3.54).
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from app.wire import Closed, ModelId, texts_or_tokens

MAX_INPUTS = 2_048
MAX_TOKEN_IDS = 2_048
"""Of one input. **Source:** as above: any array is 2048 dimensions or less."""
MAX_TOKEN_ID = 2**31 - 1

EncodingFormat = Literal["float", "base64"]
Text = Annotated[str, Field(min_length=1)]
TokenIds = Annotated[
    list[Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]],
    Field(min_length=1, max_length=MAX_TOKEN_IDS),
]
OneInput = str | Sequence[int]


Input = Annotated[
    Annotated[Text, Tag("(text)")]
    | Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS), Tag("(texts)")]
    | Annotated[TokenIds, Tag("(tokens)")]
    | Annotated[list[TokenIds], Field(max_length=MAX_INPUTS), Tag("(arrays)")],
    Discriminator(texts_or_tokens),
]


class CreateEmbeddingRequest(Closed):
    """The body of POST /embeddings. `user` changes nothing."""

    model: ModelId
    input: Input
    encoding_format: EncodingFormat | None = None
    user: str | None = None

    @property
    def inputs(self) -> Sequence[OneInput]:
        """The inputs, each a text or token ids; there is one embedding for each."""
        if isinstance(self.input, str):
            return [self.input]
        # An array of ids is one input, an array of anything else is many.
        return [self.input] if isinstance(self.input[0], int) else self.input
