"""Which bases a model may be made from, as far as one can tell without loading them."""

import re
from pathlib import Path

from core.errors import BaseUnknown
from core.settings import Settings

BUNDLED = "bundled"
FOLDER_PREFIX = "local-dir:"
_PRETRAINED = re.compile(r"[\w.-]+:[\w.-]+", re.ASCII)


def require_known_base(settings: Settings, base: str) -> None:
    """Raise BaseUnknown for anything but the bundled model, a pair of names, or a folder of ours.

    Whether open_clip lists the pair, and what the folder holds, only the worker can tell.
    """
    if base == BUNDLED:
        return
    if _PRETRAINED.fullmatch(base) and not base.startswith(FOLDER_PREFIX):
        return
    folder = Path(base.removeprefix(FOLDER_PREFIX)).resolve()
    if not any(folder.is_relative_to(root.resolve()) for root in settings.root_folders):
        raise BaseUnknown(pointer="/base")
