"""The quota of stored images."""

from collections.abc import Iterable

from core.domain.datasets.dataset import Image
from core.errors import QuotaExceeded
from core.ports import UnitOfWork
from core.settings import Settings


def require_quota(settings: Settings, work: UnitOfWork, images: Iterable[Image | None]) -> None:
    """Raise QuotaExceeded unless images fit into the quota; a refused upload has none.

    It is called before uploads are stored. Uploads that are received at the same moment do not
    know of each other, so together they may exceed the quota, but never the free disk space.
    """
    quota = settings.max_stored_bytes
    if not quota:
        return
    held = work.datasets.stored_bytes()
    needed = work.datasets.missing_bytes([image for image in images if image])
    if held + needed > quota:
        raise QuotaExceeded(
            f"The images need {needed:,} bytes, and {max(0, quota - held):,} of the quota of "
            f"{quota:,} bytes are free: delete images that are not needed any more.",
            needed_bytes=needed,
            stored_bytes=held,
            quota_bytes=quota,
        )
