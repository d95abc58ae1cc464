"""Folders of images to send: a folder for each class."""

from pathlib import Path

from perennial.terminal.failures import Failure


def labelled_images(folder: Path) -> list[tuple[str, Path]]:
    """Return the files <class>/<image> below a folder, each with its class. Raises Failure."""
    found = [
        (path.parent.name, path)
        for path in sorted(folder.glob("*/*"))
        if path.is_file() and not path.name.startswith(".")
    ]
    if not found:
        raise Failure(f"{folder} holds no <class>/<image> files.")
    return found
