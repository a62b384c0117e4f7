"""Organisations and adapters in the metrics, as Prometheus reads them."""

from prometheus_client import CollectorRegistry

from app.observability.few import IDLE_SECONDS, OTHER
from app.observability.metrics import Metrics
from app.observability.tenants import TenantMetrics
from app.usage.types import Account, Amounts

AMOUNTS = Amounts(requests=1, prompt_tokens=7, cached_tokens=4, completion_tokens=3)


def account(organization: str, adapter: str = "") -> Account:
    return Account(organization, "key_1", "base", adapter, False)


def series(registry: CollectorRegistry, label: str) -> int:
    """Count the series that have this label."""
    samples = [sample for family in registry.collect() for sample in family.samples]
    return sum(label in sample.labels for sample in samples)


def test_requests_and_tokens_are_counted_by_organisation() -> None:
    metrics = Metrics()
    metrics.used(account("org_1"), AMOUNTS)
    metrics.used(account("org_1"), AMOUNTS)
    metrics.used(account("org_2"), AMOUNTS)
    value = metrics.registry.get_sample_value
    labels = {"organization": "org_1", "model": "base"}
    assert value("lora_api_organization_requests_total", labels) == 2
    for kind, tokens in (("prompt", 14), ("cached", 8), ("completion", 6)):
        assert value("lora_api_organization_tokens_total", {**labels, "kind": kind}) == tokens


def test_adapters_are_counted_by_their_immutable_id_and_the_base_model_is_none() -> None:
    metrics = Metrics()
    metrics.used(account("org_1", "ft:base:org_1/a-0"), AMOUNTS)
    metrics.adapter_first_token("base", "ft:base:org_1/a-0", 0.2)
    metrics.used(account("org_1"), AMOUNTS)
    value = metrics.registry.get_sample_value
    labels = {"base_model": "base", "adapter": "ft:base:org_1/a-0"}
    assert value("lora_api_adapter_requests_total", labels) == 1
    assert value("lora_api_adapter_tokens_total", {**labels, "kind": "completion"}) == 3
    assert value("lora_api_adapter_time_to_first_token_seconds_count", labels) == 1


def test_ten_thousand_names_do_not_make_more_series_than_a_few() -> None:
    registry = CollectorRegistry()
    metrics = TenantMetrics(registry, organizations=3, adapters=5)
    for number in range(10_000):
        adapter = f"ft:base:org_{number}/a-0"
        metrics.used(account(f"org_{number}", adapter), AMOUNTS)
        metrics.adapter_first_token("base", adapter, 0.1)
        metrics.limit_refused(f"org_{number}", "base", "on_demand", "tokens")
        if number == 100:
            before = series(registry, "organization"), series(registry, "adapter")
    assert (series(registry, "organization"), series(registry, "adapter")) == before


def test_nothing_is_lost_from_sums_where_names_are_not_told() -> None:
    metrics = Metrics(organizations=1, adapters=1)
    for number in range(10):
        metrics.used(account(f"org_{number}", f"adapter_{number}"), AMOUNTS)
    value = metrics.registry.get_sample_value
    organizations = {"model": "base", "kind": "prompt"}
    adapters = {"base_model": "base", "kind": "prompt"}
    for name, told in (("organization", organizations), ("adapter", adapters)):
        first = "org_0" if name == "organization" else "adapter_0"
        total = f"lora_api_{name}_tokens_total"
        assert value(total, {**told, name: first}) == 7
        assert value(total, {**told, name: OTHER}) == 63


def test_an_adapter_that_lost_its_name_has_no_series_left() -> None:
    moments = iter((0.0, 0.0, IDLE_SECONDS + 1, IDLE_SECONDS + 1))
    registry = CollectorRegistry()
    metrics = TenantMetrics(registry, organizations=1, adapters=1, clock=lambda: next(moments))
    for adapter in ("old", "new"):
        metrics.used(account("org_1", adapter), AMOUNTS)
    name, labels = "lora_api_adapter_requests_total", {"base_model": "base"}
    assert registry.get_sample_value(name, {**labels, "adapter": "old"}) is None
    assert registry.get_sample_value(name, {**labels, "adapter": "new"}) == 1


def test_refusals_of_limits_are_counted_by_organisation_tier_and_unit() -> None:
    metrics = Metrics()
    metrics.limit_refused("org_1", "base", "on_demand", "tokens")
    labels = {"organization": "org_1", "model": "base", "tier": "on_demand", "unit": "tokens"}
    assert metrics.registry.get_sample_value("lora_api_rate_limit_refusals_total", labels) == 1
