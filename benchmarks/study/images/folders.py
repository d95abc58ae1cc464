"""Image folders: `<folder>/<split>/<class>/<file>`, or a zip of one."""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from benchmarks.study.plan import ImageSet, PlanInvalid

CAPTIONS = "captions.jsonl"

Labelled = tuple[Path, str]  # a file and its class or caption


def locate(data: str, places: Sequence[Path], unzipped: Path) -> Path:
    """Return the folder that a plan names, as a path or below one of the places.

    A zip is extracted below `unzipped`. Raises PlanInvalid when there is neither.
    """
    for folder in (Path(data), *(place / data for place in places)):
        if folder.is_dir():
            return folder
    for archive in (Path(data), *(place / f"{data}.zip" for place in places)):
        if archive.is_file():
            return _unzip(archive, unzipped / archive.stem)
    looked = ", ".join(str(place) for place in places)
    raise PlanInvalid(f"no folder or zip {data!r} here or below {looked} (--data says where)")


def _unzip(archive: Path, folder: Path) -> Path:
    """Extract an archive to a folder, atomically, as other processes may do the same."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent))
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(fresh)
    try:
        fresh.rename(folder)
    except OSError:
        shutil.rmtree(fresh)
    return folder


def class_of(folder_name: str) -> str:
    """Return the class that a folder is named after."""
    return folder_name.replace("_", " ")


def files_of(images: ImageSet, folder: Path) -> list[Labelled]:
    """Return a set's files with their texts, in the order of their paths. Raises PlanInvalid."""
    found = _by_folder(images, folder) if images.text == "folder" else _captioned(images, folder)
    if images.classes and isinstance(images.classes, tuple):
        wanted = {class_of(name) for name in images.classes}
        if missing := wanted - {text for _, text in found}:
            raise PlanInvalid(f"{folder / images.split} has no class {sorted(missing)[0]!r}")
        found = [(path, text) for path, text in found if text in wanted]
    if images.per_class:
        found = _cut(found, images.per_class)
    if images.groups:
        found = _grouped(images, found)
    if images.images and images.images < len(found):
        found = [found[i * len(found) // images.images] for i in range(images.images)]
    if not found:
        raise PlanInvalid(f"{folder / images.split} holds no images")
    return found


def _grouped(images: ImageSet, files: Sequence[Labelled]) -> list[Labelled]:
    """Return the files of all groups, each labelled with its group. Raises PlanInvalid."""
    groups = images.groups.items()
    group_of = {class_of(folder): group for group, folders in groups for folder in folders}
    if missing := group_of.keys() - {text for _, text in files}:
        raise PlanInvalid(f"{images.data}/{images.split} has no class {min(missing)!r}")
    return [(path, group_of[text]) for path, text in files if text in group_of]


def _by_folder(images: ImageSet, folder: Path) -> list[Labelled]:
    Image.init()
    readable = set(Image.registered_extensions())
    return [
        (path, class_of(path.parent.name))
        for path in sorted((folder / images.split).glob("*/*"))
        if path.suffix.lower() in readable
    ]


def _captioned(images: ImageSet, folder: Path) -> list[Labelled]:
    if not (folder / CAPTIONS).is_file():
        raise PlanInvalid(f"{folder} has no {CAPTIONS}, so no field {images.text!r}")
    chosen = [row for row in _rows(folder) if row["path"].startswith(f"{images.split}/")]
    if any(images.text not in row for row in chosen):
        raise PlanInvalid(f"{folder / CAPTIONS} has no field {images.text!r}")
    return sorted((folder / row["path"], str(row[images.text])) for row in chosen)


def _rows(folder: Path) -> list[dict[str, Any]]:
    """Read a captions file. Raises PlanInvalid where a line has no path below the folder."""
    rows = []
    for number, line in enumerate((folder / CAPTIONS).read_text().splitlines(), start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            path = PurePosixPath(row["path"])
        except (ValueError, KeyError, TypeError):
            raise PlanInvalid(f"{folder / CAPTIONS}, line {number}: no path") from None
        if path.is_absolute() or ".." in path.parts:
            raise PlanInvalid(
                f"{folder / CAPTIONS}, line {number}: {str(path)!r} leaves the folder"
            )
        rows.append(row)
    return rows


def _cut(files: Sequence[Labelled], per_class: int) -> list[Labelled]:
    seen: dict[str, int] = {}
    kept = []
    for path, text in files:
        seen[text] = seen.get(text, 0) + 1
        if seen[text] <= per_class:
            kept.append((path, text))
    return kept
