"""Any order of requests, settlements and waits: windows admit what they must, to the last token.

The model knows windows only by the moments at which headers say they end.
"""

import asyncio
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from app.errors import ApiError
from app.limits.budget import Budget
from app.limits.counters import MemoryCounters
from app.limits.failover import FailoverCounters
from tests.app.limits.test_durations import parse
from tests.app.limits.world import Clock, Observer, Tenant

Ends = tuple[float, float]


class BudgetMachine(RuleBasedStateMachine):
    """One organisation, whose tokens are limited by the minute and by the day."""

    @initialize(minute=st.integers(1, 50), day=st.integers(1, 200), org=st.integers(0, 99))
    def start(self, minute: int, day: int, org: int) -> None:
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.limits = (minute, day)
        counters = FailoverCounters(
            None, MemoryCounters(self.clock), Observer(), retry_seconds=5, clock=self.clock
        )
        limits = {"tpm": minute, "tpd": day, "rpd": 10**9}
        self.tenant = Tenant(f"org_{org}", counters, self.clock, **limits)
        self.used: Counter[tuple[str, float]] = Counter()
        self.running: list[tuple[Budget, int, Ends]] = []

    def ends(self, budget: Budget) -> Ends:
        resets = (budget.headers[f"x-ratelimit-reset-{unit}"] for unit in ("tokens", "requests"))
        minute, day = (round(self.clock.now + parse(reset)) for reset in resets)
        return minute, day

    def count(self, ends: Ends) -> tuple[int, int]:
        return self.used["minute", ends[0]], self.used["day", ends[1]]

    def charge(self, ends: Ends, tokens: int, *, until: float = 0) -> None:
        for window in zip(("minute", "day"), ends, strict=True):
            if window[1] > until:
                self.used[window] += tokens

    @rule(tokens=st.integers(0, 60))
    def request(self, tokens: int) -> None:
        budget = self.runner.run(self.tenant.open())
        ends = self.ends(budget)
        before = self.count(ends)
        left = max(0, self.limits[0] - before[0])
        assert budget.headers["x-ratelimit-remaining-tokens"] == str(left)
        sums = zip(before, self.limits, strict=True)
        fits = tokens == 0 or all(count + tokens <= limit for count, limit in sums)
        if fits:
            self.runner.run(budget.reserve_tokens(tokens))
            self.charge(ends, tokens)
            self.running.append((budget, tokens, ends))
            return
        with pytest.raises(ApiError) as caught:
            self.runner.run(budget.reserve_tokens(tokens))
        assert caught.value.status == (413 if tokens > min(self.limits) else 429)

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 1000), used=st.integers(0, 80), again=st.booleans())
    def settle(self, pick: int, used: int, again: bool) -> None:
        budget, reserved, ends = self.running.pop(pick % len(self.running))
        for _ in range(1 + again):
            self.runner.run(budget.settle(tokens=used))
        if used <= reserved:
            self.charge(ends, used - reserved, until=self.clock.now)
        else:
            self.charge(self.ends(self.runner.run(self.tenant.open())), used - reserved)

    @rule(seconds=st.sampled_from([1, 20, 59, 60, 3600, 43_200]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()


TestBudgetMachine = BudgetMachine.TestCase
TestBudgetMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
