"""The kinds of model that a catalog can name, and how they are called in messages."""

from collections.abc import Mapping
from typing import Literal

Task = Literal["chat", "embedding", "reranking", "transcription", "speech"]

ABILITIES: Mapping[Task, str] = {
    "chat": "text generation",
    "embedding": "embeddings",
    "reranking": "reranking",
    "transcription": "transcription",
    "speech": "speech synthesis",
}
"""What a model of each kind supports, as a noun."""
