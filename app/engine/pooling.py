"""What the service asks of models that turn text into numbers: embeddings and relevance scores.

EngineError
└── PromptRefused
    └── InputRefused  one of several inputs cannot be taken; it tells which
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.engine.base import Engine, PromptRefused, Run

Vector = NDArray[np.float32]

InputFault = Literal["empty", "too_long", "unknown_token", "unreadable"]


class InputRefused(PromptRefused):
    """One input cannot be taken; `index` is its place among all, `tokens` its length if known."""

    def __init__(self, index: int, fault: InputFault, tokens: int | None = None) -> None:
        super().__init__(f"input {index}: {fault}")
        self.index = index
        self.fault = fault
        self.tokens = tokens


@dataclass(frozen=True, slots=True)
class EmbeddingJob:
    """Texts, or token ids, each to become one vector."""

    inputs: Sequence[str | Sequence[int]]
    cache_salt: str


@dataclass(frozen=True, slots=True)
class RerankingJob:
    """Documents to be scored against a query; `instruction` None is the model's own."""

    query: str
    docs: Sequence[str]
    cache_salt: str
    instruction: str | None = None


PoolingJob = EmbeddingJob | RerankingJob


class PoolingPrompt(Protocol):
    """One input as its engine will run it; of use to the engine that prepared it only."""

    @property
    def tokens(self) -> int: ...


class PoolingEngine(Engine, Protocol):
    """One base model that embeds, or one that scores, with its adapters."""

    async def prepare(self, job: PoolingJob) -> Sequence[PoolingPrompt]:
        """Tokenize a job: one prompt for each input or document, in their order.

        Takes nothing from the engine yet. **Raises:** InputRefused, EngineOverloaded.
        """
        ...

    async def pool(self, prompt: PoolingPrompt, run: Run) -> Vector:
        """Return an input's numbers; cancelling aborts.

        An embedding is (dim,), a score (1,) within 0 to 1. **Raises:** EngineError.
        """
        ...
