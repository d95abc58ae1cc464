"""A cache of images in the form that the service stores, each decoded once for all runs."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.study.images.folders import Labelled
from core.domain.datasets.manifest import ManifestEntry
from core.domain.values import Digest, clean_caption, sha256
from core.ports import Artifacts, Decoder

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
            entry = ManifestEntry(pixels=pixels, artifact=artifact, texts=(clean_caption(text),))
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
