"""Index what lists of jobs, images and audit events are filtered by."""

from alembic import op

from migrations.concurrent_indexes import create_index, drop_index

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_jobs_model_position": ("jobs", ["model", "position"]),
    "ix_jobs_type_position": ("jobs", ["type", "position"]),
    "ix_jobs_created_at_position": ("jobs", ["created_at", "position"]),
    "ix_dataset_images_dataset_text_pixels": ("dataset_images", ["dataset", "text", "pixels"]),
    "ix_audit_events_at_sequence": ("audit_events", ["at", "sequence"]),
}


def upgrade() -> None:
    """Add the indexes: a filter that few rows pass would else read all that came later."""
    for name, (table, columns) in INDEXES.items():
        if op.get_context().dialect.name == "postgresql":
            create_index(name, table, columns)
        else:
            op.create_index(name, table, columns)


def downgrade() -> None:
    """Drop them; such lists take longer again, the more rows there are."""
    for name, (table, _) in INDEXES.items():
        if op.get_context().dialect.name == "postgresql":
            drop_index(name, table)
        else:
            op.drop_index(name, table)
