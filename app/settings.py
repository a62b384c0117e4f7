"""Every setting of the service; the only reader of the environment.

Variables are `LORA_API_` + the field's name, nested with `__` (`LORA_API_SERVER__PORT`).
"""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "LORA_API_"
CLIENT_VARIABLES = frozenset({"LORA_API_BASE_URL", "LORA_API_KEY"})
"""Read by `lora-api adapters`, which may run beside a server."""


class Group(BaseModel):
    """A nested group of settings; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServerSettings(Group):
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes any free.")
    drain_seconds: float = Field(
        30.0, ge=0, description="How long running requests may go on after SIGTERM."
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
        if self.prefix is not None and self.prefix.split("/")[0] in ("artifacts", "files"):
            raise ValueError("LORA_API_SYNC__PREFIX must not lie below artifacts or files")
        return self


class LimitSettings(Group):
    body_bytes: int = Field(16 << 20, ge=1, description="Largest JSON request body, in bytes.")
    upload_bytes: int = Field(2 << 30, ge=1, description="Largest uploaded file, in bytes.")
    batch_file_bytes: int = Field(
        200 << 20, ge=1, description="Largest uploaded batch input, in bytes."
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
