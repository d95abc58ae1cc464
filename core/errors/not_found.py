"""Errors of requests for a resource that does not exist."""

from core.errors.root import PerennialError


class NotFound(PerennialError):
    """There is no such resource."""


class DatasetNotFound(NotFound):
    """There is no such dataset."""


class DatasetVersionNotFound(NotFound):
    """There is no such dataset version."""


class ImageNotFound(NotFound):
    """There is no such image in this dataset."""


class ErasureNotFound(NotFound):
    """There is no such erasure."""


class ClassNotFound(NotFound):
    """There is no such class."""


class SuiteNotFound(NotFound):
    """There is no such suite."""


class PolicyNotFound(NotFound):
    """There is no such gate policy."""


class ModelNotFound(NotFound):
    """There is no such model."""


class VersionNotFound(NotFound):
    """There is no such version."""


class AliasNotFound(NotFound):
    """There is no such alias."""


class TrialNotFound(NotFound):
    """The alias has no such trial."""


class PredictionNotFound(NotFound):
    """There is no such prediction: each is kept while its trial runs, up to an age and a number."""


class JobNotFound(NotFound):
    """There is no such job."""


class KeyNotFound(NotFound):
    """There is no such API key."""


class WebhookNotFound(NotFound):
    """There is no such webhook."""


class DeliveryNotFound(NotFound):
    """The webhook has no such delivery: deliveries are kept for 14 days."""


class ReportNotFound(NotFound):
    """There is no forgetting report for this version: roots are not scored."""


class ExportNotFound(NotFound):
    """The version has no export in this format."""


class OriginNotFound(NotFound):
    """The version was not imported from a bundle."""


class VectorsNotFound(NotFound):
    """The version has no stored vectors of this dataset version."""


class IndexReportNotFound(NotFound):
    """The version has not been compared with an index of this version."""


class UploadNotFound(NotFound):
    """There is no such upload."""


class FileReportNotFound(NotFound):
    """The job has no report of files: only an import of images that succeeded has one."""


class BlameNotFound(NotFound):
    """The job has no blame: only a job of the type blame that succeeded has one."""


class ArtifactMissing(NotFound):
    """The artifact is not in the store."""
