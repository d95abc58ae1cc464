"""Access to the image sets, which are zipped or unzipped in one folder."""

import zipfile
from pathlib import Path

SETS = ("cifar100", "emoji_twemoji")


def open_set(data: Path, name: str) -> Path | zipfile.Path:
    """Return a set's root, `<data>/<name>/` or `<data>/<name>.zip`. Raises FileNotFoundError."""
    if (data / name).is_dir():
        return data / name
    archive = data / f"{name}.zip"
    if not archive.is_file():
        raise FileNotFoundError(
            f"needs {' and '.join(SETS)}; neither {name}/ nor {name}.zip is in {data}"
        )
    return zipfile.Path(archive)
