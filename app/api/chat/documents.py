"""Documents that an answer may draw on: they are written into the prompt, for any model.

**Source:** GroqCloud OpenAPI v2.1, `ChatCompletionDocument` and its sources, `citation_options`.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from app.validation import by_type
from app.wire import Closed

CITE = "Cite each document that you use by its id in square brackets, like [{id}]."
DO_NOT_CITE = "Do not cite the documents."


class TextSource(Closed):
    """A document's text."""

    type: Literal["text"]
    text: str

    @property
    def written(self) -> str:
        return self.text


class JsonSource(Closed):
    """A document as JSON data."""

    type: Literal["json"]
    data: dict[str, Any]

    @property
    def written(self) -> str:
        return json.dumps(self.data, ensure_ascii=False)


Source = Annotated[
    Annotated[TextSource, Tag("(text)")] | Annotated[JsonSource, Tag("(json)")],
    Discriminator(by_type),
]


class Document(Closed):
    """A document; without an `id` it is known by its number, from 1."""

    source: Source
    id: Annotated[str, Field(max_length=256)] | None = None


def with_documents(
    messages: list[dict[str, Any]], documents: Sequence[Document], *, cite: bool
) -> list[dict[str, Any]]:
    """Put the documents into the first system message, which is made where there is none."""
    if not documents:
        return messages
    ids = [document.id or str(number) for number, document in enumerate(documents, 1)]
    written = "\n\n".join(
        f"[{id}]\n{document.source.written}" for id, document in zip(ids, documents, strict=True)
    )
    how = CITE.format(id=ids[0]) if cite else DO_NOT_CITE
    text = f"Use these documents to answer. {how}\n\n{written}"
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": text}, *messages]
    return [{"role": "system", "content": _joined(messages[0]["content"], text)}, *messages[1:]]


def _joined(content: Any, text: str) -> Any:
    if isinstance(content, str):
        return f"{content}\n\n{text}"
    return [*content, {"type": "text", "text": text}]
