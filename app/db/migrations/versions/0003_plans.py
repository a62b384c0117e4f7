"""The plan that an organisation's rate limits come from."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("organizations", sa.Column("plan", sa.String(63), nullable=True))


def downgrade() -> None:
    op.drop_column("organizations", "plan")
