"""Versions behind a name, pins, artifacts of their own, adapters in the bucket, a deployment id."""

import sqlalchemy as sa
from alembic import op

from app.ids import new_id

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.String(40)
SOURCE = sa.String(900)


def upgrade() -> None:
    _extend_fine_tunings()
    _create_bucket_adapters()
    _create_deployment()


def downgrade() -> None:
    op.drop_table("deployment")
    op.drop_table("bucket_adapters")
    with op.batch_alter_table("fine_tunings") as table:
        table.drop_index("ix_fine_tunings_source")
        table.drop_index("ix_fine_tunings_pinned_until")
        for column in ("pinned_until", "activation", "stored_as", "source"):
            table.drop_column(column)
        table.alter_column("input_file_id", existing_type=ID, nullable=False)


def _extend_fine_tunings() -> None:
    with op.batch_alter_table("fine_tunings") as table:
        table.add_column(sa.Column("source", SOURCE, nullable=True))
        table.add_column(sa.Column("stored_as", sa.String(64), nullable=True))
        table.add_column(sa.Column("activation", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("pinned_until", sa.BigInteger(), nullable=True))
        table.alter_column("input_file_id", existing_type=ID, nullable=True)
    # Until now the content's digest named the artifact, and the newest version had the alias.
    op.execute("UPDATE fine_tunings SET stored_as = digest, activation = 0")
    with op.batch_alter_table("fine_tunings") as table:
        table.alter_column("stored_as", existing_type=sa.String(64), nullable=False)
        table.alter_column("activation", existing_type=sa.BigInteger(), nullable=False)
        table.create_index("ix_fine_tunings_pinned_until", ["pinned_until"])
        table.create_index("ix_fine_tunings_source", ["source"])


def _create_bucket_adapters() -> None:
    op.create_table(
        "bucket_adapters",
        sa.Column("id", ID, nullable=False),
        sa.Column("source", SOURCE, nullable=False),
        sa.Column("org_id", ID, nullable=False),
        sa.Column("base_model", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("applied", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=True),
        sa.Column("code", sa.String(64), nullable=True),
        sa.Column("param", sa.String(512), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organizations.id"], name="fk_bucket_adapters_org_id"),
        sa.PrimaryKeyConstraint("id", name="pk_bucket_adapters"),
        sa.UniqueConstraint("source", name="uq_bucket_adapters_source"),
    )
    op.create_index("ix_bucket_adapters_org_id_id", "bucket_adapters", ["org_id", "id"])


def _create_deployment() -> None:
    table = op.create_table(
        "deployment",
        sa.Column("id", ID, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deployment"),
    )
    op.bulk_insert(table, [{"id": new_id("dep")}])
