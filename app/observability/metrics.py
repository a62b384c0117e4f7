"""The service's own Prometheus metrics. Labels are bounded, also where tenants are named."""

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from adapters_registry.download import RefusalReason
from adapters_registry.types import AdapterVersion, Lease, Tier
from app.engine.base import Usage
from app.observability.batches import BatchMetrics
from app.observability.engines import SupervisionMetrics
from app.observability.health import HealthMetrics
from app.observability.metering import MeteringMetrics
from app.observability.tenants import TenantMetrics

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class HttpMetrics:
    """Requests and responses."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "lora_api_requests",
            "HTTP requests by route template and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "lora_api_request_seconds",
            "Seconds until the last byte of a response was sent.",
            ["method", "route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "lora_api_requests_in_flight", "HTTP requests being answered.", registry=registry
        )

    def request_started(self) -> None:
        """Count a request as in flight."""
        self._in_flight.inc()

    def request_ended(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a finished request."""
        self._in_flight.dec()
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)


class GenerationMetrics:
    """What engines were asked for, and what limits it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._first_token = Histogram(
            "lora_api_time_to_first_token_seconds",
            "Seconds from a request's arrival at the service to its first token.",
            ["model"],
            buckets=SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "lora_api_tokens",
            "Tokens: prompt, cached (part of prompt), completion; also of requests cut short.",
            ["model", "kind"],
            registry=registry,
        )
        self._audio_seconds = Counter(
            "lora_api_audio_seconds",
            "Seconds of audio, in: sent to be written down, out: spoken.",
            ["model", "direction"],
            registry=registry,
        )
        self._limit_storage_failures = Counter(
            "lora_api_limit_storage_failures",
            "Calls to the server of rate limits that failed; each process then counts by itself.",
            registry=registry,
        )

    def first_token(self, model: str, seconds: float) -> None:
        """Record a time to first token; `model` is a base model's id."""
        self._first_token.labels(model).observe(seconds)

    def model_served(self, model: str) -> None:
        """Have the token counters of a base model at zero."""
        for kind in ("prompt", "cached", "completion"):
            self._tokens.labels(model, kind)

    def generated(self, model: str, usage: Usage) -> None:
        """Count a finished generation's tokens; `model` is a base model's id."""
        self._tokens.labels(model, "prompt").inc(usage.prompt_tokens)
        self._tokens.labels(model, "cached").inc(usage.cached_tokens)
        self._tokens.labels(model, "completion").inc(usage.completion_tokens)

    def abandoned(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Count the tokens of a generation that did not come to its end."""
        self._tokens.labels(model, "prompt").inc(prompt_tokens)
        self._tokens.labels(model, "completion").inc(completion_tokens)

    def heard(self, model: str, seconds: float) -> None:
        """Count audio that a model is to write down."""
        self._audio_seconds.labels(model, "in").inc(seconds)

    def spoken(self, model: str, seconds: float) -> None:
        """Count audio that a model has made."""
        self._audio_seconds.labels(model, "out").inc(seconds)

    def limit_storage_failed(self) -> None:
        """Count a call to the server of rate limits that failed."""
        self._limit_storage_failures.inc()


class AdapterMetrics:
    """Adapters on their way into engines."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._loads = Counter(
            "lora_api_adapter_loads",
            "Adapters loaded into the engine, by the tier that the weights came from.",
            ["base_model", "tier"],
            registry=registry,
        )
        self._load_seconds = Histogram(
            "lora_api_adapter_load_seconds",
            "Seconds to bring an adapter into the engine, by the tier it came from.",
            ["base_model", "tier"],
            buckets=SECONDS,
            registry=registry,
        )
        self._lease_seconds = Histogram(
            "lora_api_adapter_lease_seconds",
            "Seconds that a request waited for its adapter, by the tier it came from.",
            ["base_model", "tier"],
            buckets=SECONDS,
            registry=registry,
        )
        self._refused_fetches = Counter(
            "lora_api_adapter_fetches_refused",
            "Downloads of adapters given up, by reason: corrupt, missing or unavailable.",
            ["reason"],
            registry=registry,
        )
        for reason in get_args(RefusalReason):
            self._refused_fetches.labels(reason)

        self._load_failures = Counter(
            "lora_api_adapter_load_failures",
            "Adapters that the engine failed to load.",
            ["base_model"],
            registry=registry,
        )
        self._unloads = Counter(
            "lora_api_adapter_unloads",
            "Adapters taken out of the engine: others needed the room, or they were deleted.",
            ["base_model"],
            registry=registry,
        )

    def adapters_served(self, base_model: str) -> None:
        """Have all series of a base model at zero, so that its first events are seen to happen."""
        for tier in Tier:
            self._load_seconds.labels(base_model, tier)
            self._lease_seconds.labels(base_model, tier)
            self._loads.labels(base_model, tier)
        self._load_failures.labels(base_model)
        self._unloads.labels(base_model)

    def adapter_load_failed(self, base_model: str) -> None:
        """Count an adapter that the engine failed to load."""
        self._load_failures.labels(base_model).inc()

    def adapter_unloaded(self, base_model: str) -> None:
        """Count an adapter that left the engine."""
        self._unloads.labels(base_model).inc()

    def adapter_loaded(self, version: AdapterVersion, tier: Tier, seconds: float) -> None:
        """Count a load and how long fetching and loading took."""
        self._loads.labels(version.base_model, tier).inc()
        self._load_seconds.labels(version.base_model, tier).observe(seconds)

    def leased(self, lease: Lease) -> None:
        """Record how long a request waited for turn, fetch and load."""
        labels = (lease.adapter.version.base_model, lease.tier)
        self._lease_seconds.labels(*labels).observe(lease.wait_seconds)

    def fetch_refused(self, reason: RefusalReason) -> None:
        """Count an adapter that could not be downloaded whole and right."""
        self._refused_fetches.labels(reason).inc()


class UpkeepMetrics:
    """Work in the background."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._swept = Counter(
            "lora_api_swept",
            "Things that were removed because nothing needs them any more.",
            ["kind"],
            registry=registry,
        )
        self._background_failures = Counter(
            "lora_api_background_failures",
            "Rounds of background work that failed.",
            ["task"],
            registry=registry,
        )

    def swept(self, kind: str, count: int) -> None:
        """Count what was removed because nothing needs it any more.

        Orphans in the store are an `artifact`, `orphaned_file` or `orphaned_batch`, copies on this
        process a `replica`; a `file` or `batch` was kept long enough.
        """
        self._swept.labels(kind).inc(count)

    def background_begun(self, task: str) -> None:
        """Have the failures of this work at zero, so that the first is seen to happen."""
        self._background_failures.labels(task)

    def background_failed(self, task: str) -> None:
        """Count a failed round of background work."""
        self._background_failures.labels(task).inc()


class Metrics(
    HttpMetrics,
    GenerationMetrics,
    AdapterMetrics,
    BatchMetrics,
    HealthMetrics,
    SupervisionMetrics,
    MeteringMetrics,
    UpkeepMetrics,
    TenantMetrics,
):
    """All of them, in a registry of their own; so many are named, the others counted together."""

    def __init__(self, *, organizations: int = 100, adapters: int = 100) -> None:
        self.registry = CollectorRegistry()
        HttpMetrics.__init__(self, self.registry)
        GenerationMetrics.__init__(self, self.registry)
        AdapterMetrics.__init__(self, self.registry)
        BatchMetrics.__init__(self, self.registry)
        HealthMetrics.__init__(self, self.registry)
        SupervisionMetrics.__init__(self, self.registry)
        MeteringMetrics.__init__(self, self.registry)
        UpkeepMetrics.__init__(self, self.registry)
        TenantMetrics.__init__(self, self.registry, organizations=organizations, adapters=adapters)
