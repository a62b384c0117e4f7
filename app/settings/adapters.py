"""Settings of adapters and of their sync with the bucket."""

from typing import Self

from pydantic import Field, model_validator

from app.settings.group import Group


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
