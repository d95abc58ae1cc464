"""Tables of datasets, images, thumbnails and dataset versions."""

from sqlalchemy import (
    JSON,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    literal_column,
)

from core.adapters.database.tables.schema import RowNumber, UtcTime, metadata

datasets = Table(
    "datasets",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("last_version", Integer, nullable=False),  # the counter that numbers versions
    Column("revision", Integer, nullable=False, server_default="0"),  # see `Datasets.revision`
    Column("created_at", UtcTime, nullable=False),
    Column("description", String, nullable=False, server_default=""),
    Column("metadata", JSON, nullable=False, server_default="{}"),
    Column("duplicates", Integer, nullable=False, server_default="0"),  # files sent again
)

images = Table(
    "images",
    metadata,
    Column("pixels", String(64), primary_key=True),
    Column("artifact", String(64), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("dhash", String(16), nullable=False),
)

# In the order in which images were added. Images older than this table may have no thumbnail; that
# of an erased image is empty. Its row stays, because it may identify a group.
thumbnails = Table(
    "thumbnails",
    metadata,
    Column("position", RowNumber, primary_key=True),
    Column("pixels", ForeignKey("images.pixels"), nullable=False, unique=True),
    Column("thumbnail", String(384), nullable=False),
    Column("near_duplicate_of", ForeignKey("images.pixels")),  # the oldest of its group
)

# Of the images that were not erased.
HAS_THUMBNAIL = thumbnails.c.thumbnail != literal_column("''")

# `slot` is a caption's text, or empty for a class: an image has many captions but one class.
dataset_images = Table(
    "dataset_images",
    metadata,
    Column("dataset", ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("pixels", ForeignKey("images.pixels"), primary_key=True),
    Column("slot", String, primary_key=True),
    Column("text", String, nullable=False),
    Column("file_label", String, nullable=False),
    Column("added_at", UtcTime, nullable=False),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("dataset", ForeignKey("datasets.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("manifest", String(64), nullable=False),
    Column("classes", JSON, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("images", Integer, nullable=False),
    Column("near_duplicates", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("replaced_by", Integer),  # null: none of its images was erased; 0: all were
)

# One row per image and dataset, with the first version that trains on it, so that freezing the same
# images again adds no rows.
trained_images = Table(
    "trained_images",
    metadata,
    Column("pixels", String(64), primary_key=True),
    Column("dataset", String, primary_key=True),
    Column("number", Integer, nullable=False),
    ForeignKeyConstraint(
        ["dataset", "number"], ["dataset_versions.dataset", "dataset_versions.number"]
    ),
)

Index(None, dataset_images.c.pixels)
# Of the list of a class's images.
Index(None, dataset_images.c.dataset, dataset_images.c.text, dataset_images.c.pixels)
Index(None, thumbnails.c.near_duplicate_of)
Index(None, trained_images.c.dataset, trained_images.c.number)
