"""Image folders: `<folder>/<split>/<class>/<file>`, or a zip of one."""

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from benchmarks.output import entry_of
from benchmarks.study.plan import REST, ImageSet, Plan, PlanInvalid
from core.artifacts.store import Artifacts
from core.datasets.manifests import Manifest, ManifestEntry, Part
from core.datasets.rules import DatasetKind
from core.images.decoder import Decoder
from core.values import Digest, clean_caption, sha256

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


# A cache of images in the form that the service stores, each decoded once for all runs.


_AT_ONCE = 2000  # images between two writes of the index

_Line = tuple[int, int, Digest, Digest]  # size, mtime in ns, pixels, artifact


class ImageCache:
    """A store of decoded images with an index of files, so that a second study starts at once.

    A file is decoded again when its size or time has changed. Processes may share a cache: the
    index is replaced atomically, and files whose entries a concurrent write drops are decoded
    again.
    """

    def __init__(
        self, artifacts: Artifacts, index: Path, decoder: Decoder, *, threads: int = 2
    ) -> None:
        self.artifacts = artifacts
        self._index = index
        self._decoder = decoder
        self._threads = threads

    def entries(
        self, files: Sequence[Labelled], emit: Callable[[int, int], None]
    ) -> tuple[ManifestEntry, ...]:
        """Return the files as manifest entries, sorted by pixels; equal pixels are one entry.

        For an image with several texts, the first is kept. `emit(done, total)` is called while
        files are decoded. Raises Invalid where a file is no image.
        """
        path = self._index / f"{sha256(str(_top(files).absolute()).encode())[:16]}.json"
        known = _read(path)
        missing = [file for file, _ in files if not _fresh(file, known.get(str(file.absolute())))]
        with ThreadPoolExecutor(self._threads) as pool:
            for start in range(0, len(missing), _AT_ONCE):
                group = missing[start : start + _AT_ONCE]
                found = pool.map(self._decode, group)
                known |= {str(f.absolute()): line for f, line in zip(group, found, strict=True)}
                emit(start + len(group), len(missing))
                _write(path, _read(path) | known)
        by_pixels: dict[Digest, ManifestEntry] = {}
        for file, text in files:
            _, _, pixels, artifact = known[str(file.absolute())]
            entry = entry_of(pixels, artifact, clean_caption(text))
            by_pixels.setdefault(pixels, entry)
        return tuple(by_pixels[pixels] for pixels in sorted(by_pixels))

    def _decode(self, file: Path) -> _Line:
        stat = file.stat()
        decoded = self._decoder.decode(file.read_bytes())
        return stat.st_size, stat.st_mtime_ns, decoded.pixels, self.artifacts.put(decoded.data)


def _top(files: Sequence[Labelled]) -> Path:
    """Return the folder of the files' split."""
    return files[0][0].parent.parent


def _fresh(file: Path, line: _Line | None) -> bool:
    if line is None:
        return False
    stat = file.stat()
    return (stat.st_size, stat.st_mtime_ns) == (line[0], line[1])


def _read(path: Path) -> dict[str, _Line]:
    if not path.is_file():
        return {}
    lines: Mapping[str, list[int | str]] = json.loads(path.read_bytes())
    return {
        name: (int(size), int(at), Digest(str(pixels)), Digest(str(artifact)))
        for name, (size, at, pixels, artifact) in lines.items()
    }


def _write(path: Path, lines: Mapping[str, _Line]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(lines))
    fresh.replace(path)


def without(entries: Iterable[ManifestEntry], pixels: set[Digest]) -> tuple[ManifestEntry, ...]:
    """Return the entries without these pixels, so that no image is both trained on and scored."""
    return tuple(entry for entry in entries if entry.pixels not in pixels)


# The images of a study: those to train on, those to choose by and those to score.


@dataclass(frozen=True, kw_only=True)
class RetainedSet:
    """A retained measure: images and the class list that they are classified over."""

    entries: tuple[ManifestEntry, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """All images of a study, with both parts of those to score, none of which is in `train`."""

    classes: tuple[str, ...]  # the new ones, in the plan's order
    train: tuple[ManifestEntry, ...]
    test: tuple[ManifestEntry, ...]
    retained: Mapping[str, RetainedSet]
    retrieval: tuple[ManifestEntry, ...]
    reference: tuple[ManifestEntry, ...]
    left_out: int  # training images that are left out of `train`, for they are scored

    def sessions(self, count: int) -> tuple[tuple[str, ...], ...]:
        """Split the classes into `count` equal sessions. Raises PlanInvalid on a remainder."""
        if count < 1 or len(self.classes) % count:
            raise PlanInvalid(
                f"{len(self.classes)} classes do not make {count} equal sessions: choose a "
                "number of sessions that divides them"
            )
        size = len(self.classes) // count
        return tuple(self.classes[i * size : (i + 1) * size] for i in range(count))


def on_part(entries: Sequence[ManifestEntry], part: Part) -> tuple[ManifestEntry, ...]:
    """Return the entries of a part: validation is for choosing, test for published numbers."""
    return tuple(entry for entry in entries if entry.part is part)


def digest_of(entries: Sequence[ManifestEntry]) -> Digest:
    """Return a digest of images with their texts."""
    manifest = Manifest(kind=DatasetKind.CAPTIONED, entries=tuple(entries))
    return sha256(manifest.to_bytes())


@dataclass(frozen=True, kw_only=True)
class StudyDataReader:
    """Reads image sets from folders into the image cache."""

    image_cache: ImageCache
    places: tuple[Path, ...]
    unzipped: Path
    emit: Callable[[str, int, int], None]

    def read(self, plan: Plan) -> StudyData:
        """Read all images of a plan. Raises PlanInvalid, or Invalid where a file is no image."""
        train, test = self._entries(plan.train), self._entries(plan.test)
        classes = _classes(plan.test, test)
        if unseen := set(classes) - {entry.class_name for entry in train}:
            raise PlanInvalid(f"class {sorted(unseen)[0]!r} has no training image")
        retained = {measure.name: self._measure(measure, classes) for measure in plan.retained}
        retrieval = self._entries(plan.retrieval) if plan.retrieval else ()
        scored = {entry.pixels for entry in (*test, *retrieval)}
        scored |= {entry.pixels for measure in retained.values() for entry in measure.entries}
        taught = [entry for entry in train if entry.class_name in set(classes)]
        learned = without(taught, scored)
        reference = self._entries(plan.reference) if plan.reference else ()
        return StudyData(
            classes=classes,
            train=learned,
            test=test,
            retained=retained,
            retrieval=retrieval,
            reference=without(reference, scored),
            left_out=len(taught) - len(learned),
        )

    def _entries(self, images: ImageSet) -> tuple[ManifestEntry, ...]:
        folder = locate(images.data, self.places, self.unzipped)
        title = f"{images.data}/{images.split}"
        return self.image_cache.entries(
            files_of(images, folder), lambda done, total: self.emit(title, done, total)
        )

    def _measure(self, images: ImageSet, target: Sequence[str]) -> RetainedSet:
        entries = self._entries(images)
        if images.classes == REST:
            entries = tuple(e for e in entries if e.class_name not in set(target))
        elif isinstance(images.classes, str):
            raise PlanInvalid(f"classes is a list or {REST!r}, not {images.classes!r}")
        return RetainedSet(entries=entries, classes=tuple(sorted({e.class_name for e in entries})))


def _classes(images: ImageSet, entries: Sequence[ManifestEntry]) -> tuple[str, ...]:
    """Return the target's classes as the plan lists them, in the order of sessions; else sorted."""
    if isinstance(images.classes, str):
        raise PlanInvalid(f"the target's classes are a list, not {images.classes!r}")
    listed = dict.fromkeys(name.replace("_", " ") for name in images.classes)
    return tuple(listed) or tuple(sorted({entry.class_name for entry in entries}))
