"""Pin the precision of an update; keep all environments that its training went through."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, null in every row that is there: no table is rewritten."""
    op.add_column("jobs", sa.Column("precision", sa.String()))
    op.add_column("versions", sa.Column("environments", sa.JSON()))


def downgrade() -> None:
    """Drop them; an update that is running then reads its order's precision anew."""
    op.drop_column("versions", "environments")
    op.drop_column("jobs", "precision")
