"""Settings of what requests may ask for: bytes and seconds, rates, places at a model."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from app.settings.group import Group


class LimitSettings(Group):
    body_bytes: int = Field(16 << 20, ge=1, description="Largest JSON request body, in bytes.")
    upload_bytes: int = Field(2 << 30, ge=1, description="Largest uploaded file, in bytes.")
    batch_file_bytes: int = Field(
        200 << 20, ge=1, description="Largest uploaded batch input, in bytes."
    )
    audio_bytes: int = Field(
        25 << 20, ge=1, description="Largest audio file in a request's body, in bytes."
    )
    audio_url_bytes: int = Field(
        100 << 20, ge=1, description="Largest audio file fetched from a URL, in bytes."
    )
    audio_seconds: int = Field(
        3600,
        ge=1,
        description="Longest audio that is written down. All requests together hold at most four "
        "times as much, at 64 kB of memory a second; what finds no room gets a 503.",
    )
    audio_decoders: int = Field(
        2, ge=1, description="Audio files that are decoded at once, each in a process of its own."
    )
    idempotency_seconds: int = Field(
        86_400, ge=3600, description="How long an Idempotency-Key is remembered."
    )


class RateLimitSettings(Group):
    storage_url: SecretStr | None = Field(
        None,
        description="Redis or Valkey that counts the limits of all replicas, "
        "`redis://[user:password@]host:6379/0` (`rediss` with TLS). Unset: each process counts in "
        "its memory.",
    )
    timeout_seconds: float = Field(
        0.25, gt=0, description="How long a request waits for that server before it goes on."
    )
    retry_seconds: float = Field(
        5.0, gt=0, description="How long processes count by themselves before they ask it again."
    )

    @model_validator(mode="after")
    def storage_is_redis(self) -> Self:
        if self.storage_url is not None and not _is_redis(self.storage_url.get_secret_value()):
            raise ValueError(
                "set LORA_API_RATE_LIMITS__STORAGE_URL to a URL with a host that begins with "
                "redis://, rediss://, valkey:// or valkeys://"
            )
        return self


def _is_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return has_place and parts.scheme in ("redis", "rediss", "valkey", "valkeys")


class AdmissionSettings(Group):
    queue: float = Field(
        2.0,
        ge=0,
        description="How much may wait for a model, as a multiple of what it runs at once: of "
        "requests (`max_num_seqs`) and of prompt tokens (its KV cache). More is refused with a "
        "503.",
    )
    reserve: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="Share of what a model runs at once that flex leaves free, and batches while "
        "others ask, and that the performance tier has beyond a full queue.",
    )
    batch_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of what a model runs at once that batches may have while others ask "
        "it, and a second longer; never more than `reserve` leaves. Less keeps their tokens "
        "coming faster.",
    )
