"""Every table. Times are Unix seconds, ids are TypeIDs, every tenant's row carries `org_id`."""

from datetime import date
from typing import Final

from sqlalchemy import BigInteger, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Id = String(40)
Source = String(900)
"""Key of an adapter's directory in the bucket, `<sync prefix>/<org>/<base model>/<name>`."""

NAMES = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}
"""Constraints get the same names on every database, so that later migrations can drop them."""


class Base(DeclarativeBase):
    """Declarative base of all rows."""

    metadata = MetaData(naming_convention=NAMES)


class DeploymentRow(Base):
    """The one row that tells this database from every other; the migration makes it."""

    __tablename__ = "deployment"

    id: Mapped[str] = mapped_column(Id, primary_key=True)


class OrganizationRow(Base):
    """A tenant. `plan` names its rate limits; null is the default plan, whichever that is."""

    __tablename__ = "organizations"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    plan: Mapped[str | None] = mapped_column(String(63))
    created_at: Mapped[int] = mapped_column(BigInteger)


class ApiKeyRow(Base):
    """A key, as the keyed hash of its text; the text itself is shown once and not kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    org_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[int] = mapped_column(BigInteger)
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)


class FileRow(Base):
    """An uploaded file whose bytes lie in the object store under `files/<id>`."""

    __tablename__ = "files"
    __table_args__ = (Index("ix_files_org_id_id", "org_id", "id"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    org_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    filename: Mapped[str] = mapped_column(String(255))
    purpose: Mapped[str] = mapped_column(String(32))
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int] = mapped_column(BigInteger)


class FineTuningRow(Base):
    """One registered adapter version: a name of an organisation bound to an immutable digest.

    A name's alias stands for its version of the highest `activation`, among equals the one of the
    greatest id. `stored_as` names the artifact in the store. `input_file_id` is of an upload,
    `source` of an adapter that lies in the bucket; one of the two is set.
    """

    __tablename__ = "fine_tunings"
    __table_args__ = (
        UniqueConstraint("org_id", "base_model", "name", "digest"),
        Index("ix_fine_tunings_org_id_id", "org_id", "id"),
        Index("ix_fine_tunings_digest", "digest"),
        Index("ix_fine_tunings_pinned_until", "pinned_until"),
        Index("ix_fine_tunings_source", "source"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    org_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    name: Mapped[str] = mapped_column(String(63))
    base_model: Mapped[str] = mapped_column(String(255))
    input_file_id: Mapped[str | None] = mapped_column(Id)
    source: Mapped[str | None] = mapped_column(Source)
    digest: Mapped[str] = mapped_column(String(64))
    stored_as: Mapped[str] = mapped_column(String(64))
    rank: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    fine_tuned_model: Mapped[str] = mapped_column(String(512), unique=True)
    activation: Mapped[int] = mapped_column(BigInteger)
    pinned_until: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger)


class BucketAdapterRow(Base):
    """One adapter directory that operators keep in the bucket, as the sync last acted upon it.

    `applied` is the mark of its files' ETags and sizes at that time, whatever came of it: `digest`
    is the version that was published then, `code`, `param` and `message` are the verdict when it
    was a refusal. `id` is the `ft_` id under which its owner sees a refusal.
    """

    __tablename__ = "bucket_adapters"
    __table_args__ = (Index("ix_bucket_adapters_org_id_id", "org_id", "id"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    source: Mapped[str] = mapped_column(Source, unique=True)
    org_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    base_model: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(255))
    applied: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str | None] = mapped_column(String(64))
    code: Mapped[str | None] = mapped_column(String(64))
    param: Mapped[str | None] = mapped_column(String(512))
    message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInteger)


class IdempotencyKeyRow(Base):
    """A key under which a client may repeat a create; nothing of the request but its fingerprint.

    Done once `object_id` is set, until then claimed by the attempt of `token` until
    `claimed_until`. Both times are of the database's clock.
    """

    __tablename__ = "idempotency_keys"

    org_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    object_id: Mapped[str | None] = mapped_column(Id)
    token: Mapped[str] = mapped_column(String(32))
    claimed_until: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger, index=True)


UNFINISHED: Final = ("validating", "in_progress", "finalizing", "cancelling")
"""Statuses of batches that have not ended: what such a batch needs must not be removed."""


class BatchRow(Base):
    """A batch. Its times are of the database's clock; `window` is what the client asked for.

    Whoever validates or finalises it holds the lease of `token` until `leased_until`; `attempts`
    counts leases since the last that came to an end. The counts stand once the batch has ended;
    until then they are sums over its chunks. `output_file_id` and `error_file_id` are given out as
    finalising begins, so that it can be done twice; a file without lines is taken out at the end.
    `labels` and `errors` are JSON. `key_id` is the key that the lines are charged to; older batches
    have none, and a key may be gone before its batch.
    """

    __tablename__ = "batches"
    __table_args__ = (
        Index("ix_batches_org_id_id", "org_id", "id"),
        Index("ix_batches_status_id", "status", "id"),
        Index("ix_batches_input_file_id", "input_file_id"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    org_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    input_file_id: Mapped[str] = mapped_column(Id)
    endpoint: Mapped[str] = mapped_column(String(64))
    window: Mapped[str] = mapped_column(String(8))
    labels: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    errors: Mapped[str | None] = mapped_column(Text)
    total: Mapped[int]
    completed: Mapped[int]
    failed: Mapped[int]
    output_file_id: Mapped[str | None] = mapped_column(Id)
    error_file_id: Mapped[str | None] = mapped_column(Id)
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger)
    in_progress_at: Mapped[int | None] = mapped_column(BigInteger)
    finalizing_at: Mapped[int | None] = mapped_column(BigInteger)
    completed_at: Mapped[int | None] = mapped_column(BigInteger)
    failed_at: Mapped[int | None] = mapped_column(BigInteger)
    expired_at: Mapped[int | None] = mapped_column(BigInteger)
    cancelling_at: Mapped[int | None] = mapped_column(BigInteger)
    cancelled_at: Mapped[int | None] = mapped_column(BigInteger)
    token: Mapped[str | None] = mapped_column(String(32))
    leased_until: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int]
    key_id: Mapped[str | None] = mapped_column(Id)


class BatchChunkRow(Base):
    """Some lines of a batch that ask one adapter, as a range of bytes of its ordered input.

    `model` is the base model's id, empty where no model of the deployment is asked; `adapter` is
    the id that the lines ask, empty for the base model itself. `parts` is a JSON list of the stored
    results, each with lines that no other has. While it runs, whoever holds `token` may add to
    them. `attempts` counts those begun since results were last stored, and the one that did so.
    """

    __tablename__ = "batch_chunks"
    __table_args__ = (
        Index("ix_batch_chunks_state_model", "state", "model"),
        Index(
            "ix_batch_chunks_batch_id_state_model_number", "batch_id", "state", "model", "number"
        ),
    )

    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    org_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    model: Mapped[str] = mapped_column(String(255))
    adapter: Mapped[str] = mapped_column(String(512))
    start: Mapped[int] = mapped_column(BigInteger)
    length: Mapped[int] = mapped_column(BigInteger)
    lines: Mapped[int]
    state: Mapped[str] = mapped_column(String(8))
    parts: Mapped[str] = mapped_column(Text)
    completed: Mapped[int]
    failed: Mapped[int]
    token: Mapped[str | None] = mapped_column(String(32))
    leased_until: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int]


class UsageRow(Base):
    """What one key used of one model or adapter version on one day, UTC.

    `key_id` is empty for lines of a batch that has none, `adapter` for the base model itself. It
    names no row of another table: what was used stays on the books when key, adapter or model are
    gone.
    """

    __tablename__ = "usage"
    __table_args__ = (Index("ix_usage_day", "day"),)

    org_id: Mapped[str] = mapped_column(Id, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(255), primary_key=True)
    adapter: Mapped[str] = mapped_column(String(512), primary_key=True)
    key_id: Mapped[str] = mapped_column(Id, primary_key=True)
    is_batch: Mapped[bool] = mapped_column(primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    input_characters: Mapped[int] = mapped_column(BigInteger)
    input_audio_ms: Mapped[int] = mapped_column(BigInteger)
    output_audio_ms: Mapped[int] = mapped_column(BigInteger)


class UsageFlushRow(Base):
    """The last flush of usage that a process has made, so that none is added twice.

    `process` is a token that a process makes for itself. The time is of the database's clock.
    """

    __tablename__ = "usage_flushes"

    process: Mapped[str] = mapped_column(String(32), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    flushed_at: Mapped[int] = mapped_column(BigInteger, index=True)
