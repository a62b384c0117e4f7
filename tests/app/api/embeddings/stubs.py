"""The embeddings service on scripted inference."""

from typing import Any

from app.api.embeddings.service import EmbeddingsService
from tests.app.inference.pooling_stubs import PoolingRig
from tests.app.inference.stubs import BASE


class Rig(PoolingRig):
    """An embeddings service with everything round it scripted."""

    def __init__(self) -> None:
        super().__init__("embedding")
        self.service = EmbeddingsService(self.inference)


def embedding_body(**fields: Any) -> dict[str, Any]:
    """Make a valid body, with some fields set or replaced."""
    return {"model": BASE, "input": "Once", **fields}
