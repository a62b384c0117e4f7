"""Opens what inference stands on: rate limits, admission, and the intake of images and audio."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from adapters_registry.registry import AdapterRegistry
from app.adapters.resolver import ModelResolver
from app.api.transcriptions.intake import AudioIntake
from app.audio.decoding import AudioDecoder, DecodeLimits
from app.auth.keys import cache_salt
from app.engine.base import Engine
from app.fetch.fetcher import Fetcher
from app.fetch.http import HttpClient
from app.fetch.resolver import SystemResolver
from app.fetch.targets import Policy
from app.ground import Ground
from app.inference.admission import BoundedAdmission
from app.inference.capacity import SpareCapacity
from app.inference.images import ImageLimits, Images, image_budget
from app.inference.serving import Inference, Ports
from app.limits.limiter import RateLimits, make_rate_limits
from app.limits.plans import load_plans
from app.observability.admission import AdmissionCollector
from app.observability.metrics import Metrics
from app.settings import AdmissionSettings, FetchSettings, LimitSettings, Settings
from app.usage.types import Ledger


@dataclass(frozen=True, slots=True)
class OpenInference:
    """What the rest of the application uses of it."""

    inference: Inference
    limits: RateLimits
    capacity: SpareCapacity


def open_inference(
    ground: Ground, adapters: AdapterRegistry, ledger: Ledger, stack: AsyncExitStack
) -> OpenInference:
    """Open it; `stack` closes what must be closed. **Raises:** PlansError."""
    engines = ground.engines.running
    admission = _make_admission(engines, ground.settings.admission)
    ground.metrics.registry.register(AdmissionCollector(admission))
    for model in engines:
        ground.metrics.model_served(model)
        ground.metrics.batch_model_served(model)
    limits = _open_limits(ground.settings, ground.metrics, stack)
    ports = Ports(
        resolver=ModelResolver(
            engines, ground.database.sessions, ground.engines.absent, ground.pools
        ),
        adapters=adapters,
        limits=limits,
        admission=admission,
        observer=ground.metrics,
        ledger=ledger,
        salt=partial(cache_salt, ground.pepper),
    )
    return OpenInference(Inference(ports), limits, SpareCapacity(engines, admission))


def _make_admission(engines: Mapping[str, Engine], settings: AdmissionSettings) -> BoundedAdmission:
    return BoundedAdmission(
        [engine.card for engine in engines.values()],
        queue=settings.queue,
        reserve=settings.reserve,
        batch_share=settings.batch_share,
        hosts={id: host for id, engine in engines.items() if (host := engine.adapters)},
    )


def open_fetcher(settings: FetchSettings, stack: AsyncExitStack) -> Fetcher:
    """Open the one thing that fetches callers' URLs; `stack` closes it."""
    policy = Policy.parse(settings.schemes, settings.allowed_hosts)
    http = HttpClient(connect_seconds=settings.connect_seconds)
    resolver = SystemResolver()
    stack.callback(resolver.close)
    return Fetcher(policy, http, resolver, total_seconds=settings.total_seconds)


def make_audio_intake(fetcher: Fetcher, limits: LimitSettings) -> AudioIntake:
    """Make what takes in the audio of requests."""
    decoder = AudioDecoder(
        DecodeLimits(audio_seconds=limits.audio_seconds), concurrent=limits.audio_decoders
    )
    return AudioIntake(fetcher, decoder, limits)


def open_images(fetcher: Fetcher, settings: FetchSettings, stack: AsyncExitStack) -> Images:
    """Open what takes in the images of requests; `stack` closes it."""
    limits = ImageLimits(
        count=settings.images_per_request,
        url_bytes=settings.image_bytes,
        data_bytes=settings.image_data_bytes,
        total_bytes=settings.images_bytes,
        pixels=settings.image_pixels,
    )
    budget = image_budget(settings.intake_bytes, limits, wait_seconds=settings.total_seconds)
    images = Images(fetcher, limits, budget)
    stack.callback(images.close)
    return images


def _open_limits(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> RateLimits:
    url = settings.rate_limits.storage_url
    limits = make_rate_limits(
        None if settings.plans is None else load_plans(settings.plans),
        metrics,
        storage_url=None if url is None else url.get_secret_value(),
        timeout_seconds=settings.rate_limits.timeout_seconds,
        retry_seconds=settings.rate_limits.retry_seconds,
    )
    stack.push_async_callback(limits.close)
    return limits
