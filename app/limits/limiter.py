"""Rate limits of organisations on models, by plan; what begins each request's budget."""

import time
from collections.abc import Callable

import structlog

from app.limits.budget import Budget
from app.limits.counters import MemoryCounters
from app.limits.failover import FailoverCounters, LimitObserver
from app.limits.plans import Plans, Quota
from app.limits.shared_counters import SharedCounters
from app.limits.windows import Account

log = structlog.get_logger()

UNLIMITED = Quota()


class RateLimits:
    """The limits of all organisations; without plans nothing is limited.

    `clock` counts Unix seconds; replicas that share counters need clocks that agree.
    """

    def __init__(
        self,
        plans: Plans | None,
        counters: FailoverCounters,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._plans = plans
        self._counters = counters
        self._clock = clock
        self._quotas: dict[tuple[str | None, str, str], Quota] = {}

    async def open(self, org_id: str, plan: str | None, model: str, tier: str) -> Budget:
        """Count a request and return its budget.

        `model` is the id of a served base model, also for adapters: registering more of them must
        not multiply a budget. **Raises:** ApiError 429.
        """
        quota = self._quota(plan, model, tier)
        budget = Budget(self._counters, Account(org_id, model, tier), quota, self._clock)
        if quota != UNLIMITED:
            await budget.count_request()
        return budget

    def allows(self, plan: str | None, tier: str) -> bool:
        """Tell whether a plan has a service tier; `batch` stands for batches."""
        return self._plans is None or self._plans.plan(plan).allows(tier)

    async def close(self) -> None:
        """Let go of connections and counts."""
        await self._counters.close()

    def _quota(self, plan: str | None, model: str, tier: str) -> Quota:
        if self._plans is None:
            return UNLIMITED
        key = (plan, model, tier)
        quota = self._quotas.get(key)
        if quota is None:
            if plan is not None and plan not in self._plans.plans:
                log.warning(
                    "organisation has a plan that does not exist; the default holds", plan=plan
                )
            quota = self._quotas[key] = self._plans.quota(plan, model, tier)
        return quota


def make_rate_limits(
    plans: Plans | None,
    observer: LimitObserver,
    *,
    storage_url: str | None,
    timeout_seconds: float,
    retry_seconds: float,
) -> RateLimits:
    """Count in memory, or on the server of `storage_url`; connects when first needed."""
    shared = None
    if plans is not None and storage_url is not None:
        shared = SharedCounters(storage_url, timeout_seconds=timeout_seconds)
    counters = FailoverCounters(shared, MemoryCounters(), observer, retry_seconds=retry_seconds)
    return RateLimits(plans, counters)
