"""Group near-duplicates by thumbnails; count the changes of a dataset."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table empty: images that are there stay on the sides that they are on."""
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
    op.drop_table("suite_dhashes")


def downgrade() -> None:
    """Every image is then on the side of its own pixels again."""
    op.create_table(
        "suite_dhashes",
        sa.Column("dhash", sa.String(16), primary_key=True),
        sa.Column("suite", sa.String(), sa.ForeignKey("suites.id"), primary_key=True),
    )
    op.create_index("ix_suite_dhashes_suite", "suite_dhashes", ["suite"])
    op.execute(
        "INSERT INTO suite_dhashes (dhash, suite) SELECT DISTINCT images.dhash, suite_images.suite "
        "FROM suite_images JOIN images ON images.pixels = suite_images.pixels"
    )
    op.drop_column("datasets", "revision")
    op.drop_table("thumbnails")
