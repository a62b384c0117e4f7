"""First schema: organisations, keys, files and fine tunings."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.String(40)


def upgrade() -> None:
    _create_organizations()
    _create_api_keys()
    _create_files()
    _create_fine_tunings()


def downgrade() -> None:
    for table in ("fine_tunings", "files", "api_keys", "organizations"):
        op.drop_table(table)


def _create_organizations() -> None:
    op.create_table(
        "organizations",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_organizations"),
        sa.UniqueConstraint("name", name="uq_organizations_name"),
    )


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", ID, nullable=False),
        sa.Column("org_id", ID, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        _org_id_of("api_keys"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("hash", name="uq_api_keys_hash"),
    )
    op.create_index("ix_api_keys_org_id", "api_keys", ["org_id"])


def _create_files() -> None:
    op.create_table(
        "files",
        sa.Column("id", ID, nullable=False),
        sa.Column("org_id", ID, nullable=False),
        sa.Column("filename", sa.String(255), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        _org_id_of("files"),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
    )
    op.create_index("ix_files_org_id_id", "files", ["org_id", "id"])


def _create_fine_tunings() -> None:
    version = ("org_id", "base_model", "name", "digest")
    op.create_table(
        "fine_tunings",
        sa.Column("id", ID, nullable=False),
        sa.Column("org_id", ID, nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("base_model", sa.String(255), nullable=False),
        sa.Column("input_file_id", ID, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("fine_tuned_model", sa.String(512), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        _org_id_of("fine_tunings"),
        sa.PrimaryKeyConstraint("id", name="pk_fine_tunings"),
        sa.UniqueConstraint(*version, name="uq_fine_tunings_org_id_base_model_name_digest"),
        sa.UniqueConstraint("fine_tuned_model", name="uq_fine_tunings_fine_tuned_model"),
    )
    op.create_index("ix_fine_tunings_org_id_id", "fine_tunings", ["org_id", "id"])
    op.create_index("ix_fine_tunings_digest", "fine_tunings", ["digest"])


def _org_id_of(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["org_id"], ["organizations.id"], name=f"fk_{table}_org_id")
