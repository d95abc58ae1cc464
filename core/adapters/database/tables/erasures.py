"""Tables of erasures and the images that they have erased."""

from sqlalchemy import JSON, Column, ForeignKey, Index, String, Table

from core.adapters.database.tables.schema import UtcTime, metadata

erasures = Table(
    "erasures",
    metadata,
    Column("id", String, primary_key=True),
    Column("images", JSON, nullable=False),
    Column("reason", String, nullable=False),
    Column("retraining", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("job", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("erased_at", UtcTime),  # null: not yet
    Column("findings", JSON(none_as_null=True)),  # null: not yet
)

# An image may have been stored in several forms. Its digests are all that is kept of it: they
# refuse it when it is sent again, and keep its bytes out of back-ups.
erased_images = Table(
    "erased_images",
    metadata,
    Column("pixels", String(64), primary_key=True),
    Column("artifact", String(64), primary_key=True),
    Column("erasure", ForeignKey("erasures.id"), nullable=False),
)

Index(None, erased_images.c.artifact)
