"""What inference stands on, as it sees it; each has one implementation in the product."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from adapters_registry.types import AdapterVersion, Lease
from app.adapters.resolver import ResolvedModel
from app.engine.base import ModelCard, Usage
from app.errors import ApiError
from app.inference.gate import Reason
from app.inference.spare import Line
from app.inference.tiers import Tier
from app.usage.types import Account, Amounts


class Resolver(Protocol):
    """Finds what answers to a model id (app.adapters.resolver)."""

    async def resolve(self, org_id: str, model: str) -> ResolvedModel: ...


class AdapterLeases(Protocol):
    """Gives the right to use an adapter (adapters_registry.registry)."""

    def lease(
        self,
        version: AdapterVersion,
        *,
        wait_seconds: float | None = None,
        gives_way: bool = False,
    ) -> AbstractAsyncContextManager[Lease]: ...


class Budget(Protocol):
    """What one request may take of its organisation's rate limits (app.limits)."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def reserve_tokens(self, tokens: int) -> None: ...

    async def reserve_seconds(self, seconds: float) -> None: ...

    async def return_seconds(self) -> None: ...

    async def settle(self, *, tokens: int) -> None: ...


class Limits(Protocol):
    """Counts requests against plans (app.limits)."""

    def allows(self, plan: str | None, tier: str) -> bool: ...

    async def open(self, org_id: str, plan: str | None, model: str, tier: str) -> Budget: ...


class Admission(Protocol):
    """Lets in no more than an engine can take (app.inference.admission)."""

    def check(self, model: str, tier: Tier) -> None: ...

    def rendering(self, model: str, tier: Tier, tokens: int) -> AbstractContextManager[None]: ...

    def enter(self, model: str, tier: Tier, tokens: int) -> AbstractContextManager[None]: ...

    def turn(self, model: str, adapter: Hashable) -> AbstractContextManager[bool]: ...

    def spare(self, model: str, line: Line) -> AbstractAsyncContextManager[None]: ...

    def has_turn(self, model: str, adapter: Hashable) -> None: ...

    def refusal(self, model: str, tier: Tier, reason: Reason) -> ApiError: ...


class Observer(Protocol):
    """Is told of each generation; `model` is a base model's id (app.observability.metrics)."""

    def first_token(self, model: str, seconds: float) -> None: ...

    def adapter_first_token(self, base_model: str, adapter: str, seconds: float) -> None: ...

    def generated(self, model: str, usage: Usage) -> None: ...

    def abandoned(self, model: str, prompt_tokens: int, completion_tokens: int) -> None: ...

    def heard(self, model: str, seconds: float) -> None: ...

    def spoken(self, model: str, seconds: float) -> None: ...

    def leased(self, lease: Lease) -> None: ...

    def used(self, account: Account, amounts: Amounts) -> None: ...

    def limit_refused(self, org_id: str, model: str, tier: str, unit: str) -> None: ...


class ImageIntake(Protocol):
    """Fetches and checks the images of messages (app.inference.images)."""

    async def taken_in(
        self,
        messages: Sequence[dict[str, Any]],
        card: ModelCard,
        *,
        org_id: str,
        field: str = "messages",
    ) -> list[dict[str, Any]]: ...
