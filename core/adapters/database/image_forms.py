"""The form in which an image is stored: which artifact holds its pixels."""

from sqlalchemy import Connection, select

from core.adapters.database.statements import insert_new, upsert
from core.adapters.database.tables.datasets import dataset_images, datasets, images
from core.domain.dataset import Image


def store_form(connection: Connection, image: Image) -> None:
    """Store an image; one that is known takes the form in which it was put last.

    Replacing a form and freezing a dataset that holds the image take turns: freezing counts
    versions up in the rows that are locked here. So a manifest that names the old form is
    committed before this row names the new one.
    """
    if insert_new(connection, images, vars(image)):
        return
    form = select(images.c.artifact).where(images.c.pixels == image.pixels)
    known = connection.scalar(form.with_for_update(key_share=True))  # nobody adds a holder now
    if known != image.artifact:
        held = select(dataset_images.c.dataset).where(dataset_images.c.pixels == image.pixels)
        holders = select(datasets.c.id).where(datasets.c.id.in_(held)).order_by(datasets.c.id)
        connection.execute(holders.with_for_update(key_share=True)).all()
    upsert(connection, images, vars(image), key=["pixels"])
