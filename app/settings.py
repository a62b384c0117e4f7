"""Every setting of the service; the only reader of the environment.

Variables are `LORA_API_` + the field's name, nested with `__` (`LORA_API_SERVER__PORT`).
"""

import os
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "LORA_API_"
CLIENT_VARIABLES = frozenset({"LORA_API_BASE_URL", "LORA_API_KEY"})
"""Read by `lora-api adapters` and `lora-api batches`, which may run beside a server."""


FetchHost = Annotated[
    str,
    StringConstraints(pattern=r"^(\*|([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?)$"),
]


class Group(BaseModel):
    """A nested group of settings; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServerSettings(Group):
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes any free.")
    drain_seconds: float = Field(
        30.0, ge=0, description="How long running requests may go on after SIGTERM."
    )
    notice_seconds: float = Field(
        0.0,
        ge=0,
        description="How long requests are taken in before that, with `/health/ready` failing.",
    )


class AuthSettings(Group):
    secret: SecretStr | None = Field(
        None,
        description="Pepper of API-key hashes and prefix-cache salts, 32 characters or more, the "
        "same for every replica. Unset: made once and kept in the data directory.",
    )
    cache_seconds: float = Field(
        10.0, ge=0, description="How long a checked key is trusted before it is looked up again."
    )

    @model_validator(mode="after")
    def secret_is_long(self) -> Self:
        if self.secret is not None and len(self.secret.get_secret_value()) < 32:
            raise ValueError("set LORA_API_AUTH__SECRET to 32 or more random characters")
        return self


class DatabaseSettings(Group):
    url: SecretStr | None = Field(
        None,
        description="SQLAlchemy URL, `postgresql+asyncpg://…` in production. Unset: SQLite in the "
        "data directory, for one process.",
    )
    pool_size: int = Field(10, ge=1, description="Connections kept open per process (PostgreSQL).")


class StoreSettings(Group):
    kind: Literal["directory", "s3"] = Field("directory", description="Where objects are kept.")
    bucket: str | None = Field(None, description="S3 bucket.")
    prefix: str = Field("", description="Key prefix inside the bucket.")
    endpoint_url: str | None = Field(None, description="S3 endpoint, where it is not AWS.")
    region: str | None = Field(None, description="S3 region.")
    max_concurrency: int = Field(16, ge=1, description="Parallel S3 transfers per process.")

    @model_validator(mode="after")
    def s3_has_a_bucket(self) -> Self:
        if self.kind == "s3" and not self.bucket:
            raise ValueError("set LORA_API_STORE__BUCKET when LORA_API_STORE__KIND is s3")
        return self


class AdapterSettings(Group):
    max_bytes: int = Field(2 << 30, ge=1, description="Largest unpacked adapter, in bytes.")
    cache_bytes: int = Field(
        20 << 30, ge=1, description="Disk budget for fetched adapters, in bytes."
    )
    lease_wait_seconds: float = Field(
        30.0, ge=0, description="How long a request waits for its turn in the engine before a 503."
    )
    pins_per_organization: int = Field(
        4, ge=0, description="Adapters of one base model that an organisation may keep pinned."
    )
    upkeep_seconds: float = Field(
        15.0, gt=0, description="How often pins are followed and what was deleted is unloaded."
    )
    sweep_seconds: float = Field(
        3600.0, gt=0, description="How often orphaned artifacts are looked for in the store."
    )
    orphan_grace_seconds: float = Field(
        86400.0,
        ge=3600,
        description="Age at which an artifact that no adapter needs is an orphan; it is removed "
        "when two sweeps have seen it.",
    )


class SyncSettings(Group):
    prefix: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$",
        description="Key prefix below which operators keep adapters as "
        "`<org>/<base model>/<name>/`, without a closing slash. Unset: no sync.",
    )
    interval_seconds: float = Field(
        30.0,
        gt=0,
        description="How often the bucket is looked at; a change takes two looks, a change "
        "of the configuration alone ten minutes.",
    )

    @model_validator(mode="after")
    def prefix_is_not_ours(self) -> Self:
        if self.prefix is not None and self.prefix.split("/")[0] in (
            "artifacts",
            "batches",
            "files",
        ):
            raise ValueError("LORA_API_SYNC__PREFIX must not lie below artifacts, batches or files")
        return self


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


class FileSettings(Group):
    quota_bytes: int = Field(
        100 << 30, ge=0, description="Bytes of files that an organisation may keep."
    )
    retention_seconds: int = Field(
        30 * 86_400,
        ge=3600,
        description="How long files of batches, and batches that have ended, are kept.",
    )
    sweep_seconds: float = Field(
        3600.0, gt=0, description="How often old files and orphaned objects are looked for."
    )
    orphan_grace_seconds: float = Field(
        86400.0,
        ge=3600,
        description="Age at which an object that no file needs is an orphan; it is removed when "
        "two sweeps have seen it.",
    )


class BatchSettings(Group):
    enabled: bool = Field(
        True,
        description="Whether this process works on batches. It takes them in for others anyway.",
    )
    max_lines: int = Field(50_000, ge=1, description="Most lines of one batch.")
    line_bytes: int = Field(4 << 20, ge=1024, description="Longest line of a batch, in bytes.")
    active_per_organization: int = Field(
        64, ge=1, description="Batches of one organisation that may be unfinished at a time."
    )
    chunk_lines: int = Field(256, ge=1, description="Most lines that a process takes on at once.")
    lease_seconds: int = Field(
        60,
        ge=3,
        description="How long after a process was last heard of its lines are given to others.",
    )
    checkpoint_seconds: float = Field(
        10.0, gt=0, description="How often the results of unfinished chunks are stored."
    )
    poll_seconds: float = Field(
        1.0, gt=0, description="How often a process without work looks for some."
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


class FetchSettings(Group):
    schemes: tuple[Literal["https", "http"], ...] = Field(
        ("https",), description="URL schemes that callers' URLs may have."
    )
    allowed_hosts: tuple[FetchHost, ...] = Field(
        ("*",),
        description="Hosts that callers' URLs may name: `*` is every public host; a host listed by "
        "`name` or `name:port` may have a private address too. Empty: no URL is fetched.",
    )
    connect_seconds: float = Field(
        5.0, gt=0, description="How long a fetch waits for a connection."
    )
    total_seconds: float = Field(
        15.0, gt=0, description="How long a fetch may take in all, with its redirects."
    )
    image_bytes: int = Field(20 << 20, ge=1, description="Largest image fetched, in bytes.")
    image_data_bytes: int = Field(
        4 << 20, ge=1, description="Largest image in a `data:` URL, in bytes when decoded."
    )
    image_pixels: int = Field(33_000_000, ge=1, description="Largest image, in pixels.")
    images_per_request: int = Field(5, ge=0, description="Images that one request may hold.")
    images_bytes: int = Field(
        32 << 20, ge=1, description="Bytes that all images of one request may have."
    )
    intake_bytes: int = Field(
        256 << 20,
        ge=1,
        description="Bytes that the images of all requests may have while they are fetched and "
        "checked; an organisation gets a quarter, or one request's most. What finds no room in "
        "`total_seconds` gets a 503.",
    )

    @model_validator(mode="after")
    def largest_request_fits(self) -> Self:
        if self.intake_bytes < self.images_bytes:
            raise ValueError("set LORA_API_FETCH__INTAKE_BYTES to IMAGES_BYTES or more")
        return self


class UsageSettings(Group):
    flush_seconds: float = Field(
        5.0,
        gt=0,
        description="How often a process brings what was used to the database; one that is killed "
        "loses what it has counted since.",
    )
    retention_days: int = Field(
        400, ge=1, description="How many days usage is kept in the database."
    )


class MetricsSettings(Group):
    organizations: int = Field(
        100,
        ge=0,
        description="Organisations that `/metrics` of a process names, of those in use; all others "
        "are `other` together.",
    )
    adapters: int = Field(
        100,
        ge=0,
        description="Adapter versions that `/metrics` of a process names, of those in use; all "
        "others are `other` together.",
    )


class EngineSettings(Group):
    restart_pause_seconds: float = Field(
        1.0,
        gt=0,
        description="How long after its second death in a row an engine is started again, after "
        "the first at once; each further death doubles it.",
    )
    restart_longest_pause_seconds: float = Field(
        60.0, gt=0, description="The longest of these pauses."
    )
    deaths_in_a_row: int = Field(
        5,
        ge=1,
        description="After so many deaths of an engine in a row, failed starts among them, the "
        "process ends with status 4; an optional model is started for ever.",
    )
    stable_seconds: float = Field(
        300.0, gt=0, description="An engine that ran so long is sound: its next death is a first."
    )


class Settings(BaseSettings):
    """The whole configuration; invalid values stop the start with the setting's name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    catalog: Path = Field(
        Path("catalog.yaml"), description="YAML file that lists the served models."
    )
    plans: Path | None = Field(
        None, description="YAML file of the plans with rate limits. Unset: nothing is limited."
    )
    data_dir: Path = Field(
        Path(".data"), description="Local directory: embedded database and store, adapter cache."
    )
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    database: DatabaseSettings = DatabaseSettings()
    store: StoreSettings = StoreSettings()
    adapters: AdapterSettings = AdapterSettings()
    sync: SyncSettings = SyncSettings()
    limits: LimitSettings = LimitSettings()
    files: FileSettings = FileSettings()
    batches: BatchSettings = BatchSettings()
    admission: AdmissionSettings = AdmissionSettings()
    fetch: FetchSettings = FetchSettings()
    rate_limits: RateLimitSettings = RateLimitSettings()
    usage: UsageSettings = UsageSettings()
    metrics: MetricsSettings = MetricsSettings()
    engines: EngineSettings = EngineSettings()
    log_format: Literal["json", "console"] = Field("json", description="How log lines look.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )

    @model_validator(mode="after")
    def variables_are_known(self) -> Self:
        known = {f"{PREFIX}{name}".upper() for name in type(self).model_fields}
        for variable in map(str.upper, os.environ):
            top = variable.split("__", 1)[0]
            if variable.startswith(PREFIX) and top not in known | CLIENT_VARIABLES:
                raise ValueError(f"{variable} is no setting: see `lora-api settings`")
        return self
