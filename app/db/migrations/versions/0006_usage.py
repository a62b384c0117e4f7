"""What was used, by organisation, key, model, adapter and day."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.String(40)


def upgrade() -> None:
    _create_usage()
    op.create_table(
        "usage_flushes",
        sa.Column("process", sa.String(32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("flushed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("process", name="pk_usage_flushes"),
    )
    op.create_index("ix_usage_flushes_flushed_at", "usage_flushes", ["flushed_at"])


def downgrade() -> None:
    op.drop_table("usage_flushes")
    op.drop_table("usage")


def _create_usage() -> None:
    op.create_table(
        "usage",
        sa.Column("org_id", ID, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("adapter", sa.String(512), nullable=False),
        sa.Column("key_id", ID, nullable=False),
        sa.Column("is_batch", sa.Boolean(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("input_characters", sa.BigInteger(), nullable=False),
        sa.Column("input_audio_ms", sa.BigInteger(), nullable=False),
        sa.Column("output_audio_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "org_id", "day", "model", "adapter", "key_id", "is_batch", name="pk_usage"
        ),
    )
    op.create_index("ix_usage_day", "usage", ["day"])
