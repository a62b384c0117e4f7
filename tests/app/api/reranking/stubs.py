"""The reranking service on scripted inference."""

from typing import Any

from app.api.reranking.service import RerankingService
from tests.app.inference.pooling_stubs import PoolingRig
from tests.app.inference.stubs import BASE


class Rig(PoolingRig):
    """A reranking service with everything round it scripted."""

    def __init__(self) -> None:
        super().__init__("reranking")
        self.service = RerankingService(self.inference)


def reranking_body(**fields: Any) -> dict[str, Any]:
    """Make a valid body, with some fields set or replaced."""
    return {"model": BASE, "query": "Which?", "docs": ["one", "two"], **fields}
