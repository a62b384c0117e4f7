"""Who uses how much: organisations and adapter versions by name, a bounded number of each.

The exact numbers are metering's, in the database; these are for looking at what goes on now. Who
has no name of its own is counted under `other`, so that sums are right.
"""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

from app.observability.few import Few
from app.usage.types import Account, Amounts

FIRST_TOKEN_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Few, since each adapter has them all."""


class TenantMetrics:
    """Is told of each request; `organizations` and `adapters` are the most that are named."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        organizations: int,
        adapters: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._organization_requests = Counter(
            "lora_api_organization_requests",
            "Requests and batch lines that were served, by organisation and base model.",
            ["organization", "model"],
            registry=registry,
        )
        self._organization_tokens = Counter(
            "lora_api_organization_tokens",
            "Tokens by organisation and base model: prompt, cached (part of prompt), completion.",
            ["organization", "model", "kind"],
            registry=registry,
        )
        self._limit_refusals = Counter(
            "lora_api_rate_limit_refusals",
            "Requests refused by a rate limit, by its unit: requests, tokens or seconds of audio.",
            ["organization", "model", "tier", "unit"],
            registry=registry,
        )
        self._adapter_requests = Counter(
            "lora_api_adapter_requests",
            "Requests and batch lines that an adapter version served.",
            ["base_model", "adapter"],
            registry=registry,
        )
        self._adapter_tokens = Counter(
            "lora_api_adapter_tokens",
            "Tokens of an adapter version: prompt, cached (part of prompt), completion.",
            ["base_model", "adapter", "kind"],
            registry=registry,
        )
        self._adapter_first_token = Histogram(
            "lora_api_adapter_time_to_first_token_seconds",
            "Seconds from a request's arrival to its first token, by adapter version.",
            ["base_model", "adapter"],
            buckets=FIRST_TOKEN_SECONDS,
            registry=registry,
        )
        self._named_organizations = Few(organizations, self._forget_organization, clock=clock)
        self._named_adapters = Few(adapters, self._forget_adapter, clock=clock)

    def used(self, account: Account, amounts: Amounts) -> None:
        """Count what one request has used."""
        organization = self._named_organizations.label(account.org_id)
        self._organization_requests.labels(organization, account.model).inc(amounts.requests)
        for kind, tokens in _kinds(amounts).items():
            self._organization_tokens.labels(organization, account.model, kind).inc(tokens)
        if not account.adapter:
            return
        adapter = self._named_adapters.label(account.adapter)
        self._adapter_requests.labels(account.model, adapter).inc(amounts.requests)
        for kind, tokens in _kinds(amounts).items():
            self._adapter_tokens.labels(account.model, adapter, kind).inc(tokens)

    def adapter_first_token(self, base_model: str, adapter: str, seconds: float) -> None:
        """Record a time to first token of an adapter version."""
        label = self._named_adapters.label(adapter)
        self._adapter_first_token.labels(base_model, label).observe(seconds)

    def limit_refused(self, org_id: str, model: str, tier: str, unit: str) -> None:
        """Count a request that a rate limit refused."""
        organization = self._named_organizations.label(org_id)
        self._limit_refusals.labels(organization, model, tier, unit).inc()

    def _forget_organization(self, org_id: str) -> None:
        for metric in (
            self._organization_requests,
            self._organization_tokens,
            self._limit_refusals,
        ):
            metric.remove_by_labels({"organization": org_id})

    def _forget_adapter(self, adapter: str) -> None:
        for metric in (self._adapter_requests, self._adapter_tokens, self._adapter_first_token):
            metric.remove_by_labels({"adapter": adapter})


def _kinds(amounts: Amounts) -> dict[str, int]:
    return {
        "prompt": amounts.prompt_tokens,
        "cached": amounts.cached_tokens,
        "completion": amounts.completion_tokens,
    }
