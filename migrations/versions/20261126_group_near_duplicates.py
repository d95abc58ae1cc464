"""Group near-duplicates by thumbnails; count the changes of a dataset."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table empty: images that are there stay on the sides that they are on.

    `suite_dhashes` stays, for the release before may still run; nothing reads it any more.
    """
    op.create_table(
        "thumbnails",
        sa.Column(
            "position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True
        ),
        sa.Column("pixels", sa.String(64), sa.ForeignKey("images.pixels"), nullable=False),
        sa.Column("thumbnail", sa.String(384), nullable=False),
        sa.Column("near_duplicate_of", sa.String(64), sa.ForeignKey("images.pixels")),
        sa.UniqueConstraint("pixels"),
    )
    op.create_index("ix_thumbnails_near_duplicate_of", "thumbnails", ["near_duplicate_of"])
    op.add_column(
        "datasets", sa.Column("revision", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Every image is then on the side of its own pixels again.

    Manifests that name groups cannot be read by the release before.
    """
    op.drop_column("datasets", "revision")
    op.drop_table("thumbnails")
