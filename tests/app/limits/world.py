"""What tests of rate limits need beside them: a clock, an observer, plans in one line."""

from app.errors import ApiError
from app.limits.budget import Budget
from app.limits.failover import FailoverCounters
from app.limits.limiter import RateLimits
from app.limits.plans import Plans

MODEL = "llama-3.1-8b-instant"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Observer:
    """Counts the failures it hears of."""

    def __init__(self) -> None:
        self.failures = 0

    def limit_storage_failed(self) -> None:
        self.failures += 1


def plans_of(**limits: int) -> Plans:
    """One plan that has every tier and these limits for every model."""
    tiers = ["on_demand", "flex", "performance"]
    plan = {"tiers": tiers, "models": {"*": limits}}
    return Plans.model_validate({"default": "only", "plans": {"only": plan}})


class Tenant:
    """One organisation's requests, on one model and in one tier if no other is named."""

    def __init__(
        self, org_id: str, counters: FailoverCounters, clock: Clock, **limits: int
    ) -> None:
        self.org_id = org_id
        self.limits = RateLimits(plans_of(**limits), counters, clock=clock)

    async def open(self, *, model: str = MODEL, tier: str = "on_demand") -> Budget:
        return await self.limits.open(self.org_id, None, model, tier)

    async def refusal(self, *, tokens: int = 0, seconds: float = 0) -> ApiError | None:
        """Make one request; return what it was refused with."""
        try:
            budget = await self.open()
            await budget.reserve_tokens(tokens)
            await budget.reserve_seconds(seconds)
        except ApiError as error:
            return error
        return None

    async def left(self, unit: str = "tokens") -> int:
        """Tell what a new request's headers say is left."""
        return int((await self.open()).headers[f"x-ratelimit-remaining-{unit}"])


class Tenants:
    """Makes organisations with the test's counters and clock."""

    def __init__(self, org_id: str, counters: FailoverCounters, clock: Clock) -> None:
        self._org_id, self._counters, self._clock = org_id, counters, clock

    def __call__(self, suffix: str = "", /, **limits: int) -> Tenant:
        return Tenant(self._org_id + suffix, self._counters, self._clock, **limits)
