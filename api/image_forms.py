"""Forms with image files: what may be wrong with one, and decoding of its files."""

from api.dependencies import Services
from api.http.forms.multipart import Part
from api.http.forms.staging import Staging
from api.http.forms.uploads import data_of
from core import errors
from core.domain.datasets.dataset import DatasetKind
from core.domain.values import clean_file_label
from core.use_cases.datasets.datasets import Upload, receive_file

UPLOAD_ERRORS = (
    errors.MalformedMultipart,
    errors.BodyTooLarge,
    errors.TooManyParts,
    errors.AllRejected,
    errors.FieldUnknown,
    errors.QuotaExceeded,
    errors.StorageFull,
)


def decode_upload(services: Services, staging: Staging, kind: DatasetKind, part: Part) -> Upload:
    """Decode one file of a form; runs in a thread."""
    try:
        data = data_of(part)
    except errors.FileTooLarge as refusal:
        label = clean_file_label(part.file_name)
        return Upload(text=part.name, file_label=label, refusal=refusal)
    return receive_file(
        staging.keep,
        services.decoder,
        kind,
        text=part.name,
        file_name=part.file_name,
        data=data,
    )
