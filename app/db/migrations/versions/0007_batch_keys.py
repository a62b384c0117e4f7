"""The key that a batch was created with, so that its lines are charged to it.

Batches that there are, and those that replicas of the release before create, have none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("key_id", sa.String(40), nullable=True))


def downgrade() -> None:
    op.drop_column("batches", "key_id")
