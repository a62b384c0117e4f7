"""Settings of what keeps data: the database, the object store, and what is written there."""

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from app.settings.group import Group


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
