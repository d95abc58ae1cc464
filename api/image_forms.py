"""Forms with image files: what may be wrong with one, and where its files go."""

from collections.abc import Sequence

from api.dependencies import Services
from api.http.forms.multipart import Part
from api.http.forms.uploads import data_of
from core import errors
from core.domain.datasets.dataset import Dataset, DatasetKind
from core.domain.values import clean_file_label
from core.ports import ArtifactBatch
from core.use_cases.datasets.datasets import Upload, receive_file, require_room
from core.use_cases.datasets.quota import require_quota

UPLOAD_ERRORS = (
    errors.MalformedMultipart,
    errors.BodyTooLarge,
    errors.TooManyParts,
    errors.AllRejected,
    errors.FieldUnknown,
    errors.QuotaExceeded,
    errors.StorageFull,
)


def dataset_to_fill(services: Services, dataset: str) -> Dataset:
    """Return a dataset that a form adds to. Raises DatasetNotFound or StorageFull."""
    require_room(services.platform)
    with services.platform.transactions(read_only=True) as work:
        return work.datasets.get(dataset)


def decode_upload(
    services: Services, images: ArtifactBatch, kind: DatasetKind, part: Part
) -> Upload:
    """Decode one file of a form; runs in a thread."""
    try:
        data = data_of(part)
    except errors.FileTooLarge as refusal:
        label = clean_file_label(part.file_name)
        return Upload(text=part.name, file_label=label, refusal=refusal)
    return receive_file(
        images.add,
        services.decoder,
        kind,
        text=part.name,
        file_name=part.file_name,
        data=data,
    )


def store_uploads(services: Services, images: ArtifactBatch, uploads: Sequence[Upload]) -> None:
    """Store the images of a form that has arrived. Raises QuotaExceeded or StorageFull."""
    platform = services.platform
    with platform.transactions(read_only=True) as work:
        require_quota(platform.settings, work, [upload.image for upload in uploads])
    images.commit()
