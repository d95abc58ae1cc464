"""The quota of stored images."""

from collections.abc import Sequence

from core.errors import QuotaExceeded
from core.ports import UnitOfWork
from core.settings import Settings
from core.use_cases.datasets.datasets import Upload


def require_quota(settings: Settings, work: UnitOfWork, uploads: Sequence[Upload]) -> None:
    """Raise QuotaExceeded unless the images of uploads fit into the quota.

    It is called before their bytes are stored. Uploads that are received at the same moment do
    not know of each other, so together they may exceed the quota, but never the free disk space.
    """
    quota = settings.max_stored_bytes
    if not quota:
        return
    held = work.datasets.stored_bytes()
    needed = work.datasets.missing_bytes([upload.image for upload in uploads if upload.image])
    if held + needed > quota:
        raise QuotaExceeded(
            f"The images need {needed:,} bytes, and {max(0, quota - held):,} of the quota of "
            f"{quota:,} bytes are free: delete images that are not needed any more.",
            needed_bytes=needed,
            stored_bytes=held,
            quota_bytes=quota,
        )
