"""Files beside an image that hold its texts, as in WebDataset: `7.jpg`, `7.cls`, `7.json`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from core.archives.rules import Path
from core.datasets.columns import WantedColumns
from core.datasets.image_lists import texts_of
from core.datasets.rules import DatasetKind

CLASS, CAPTION, FIELDS = "cls", "txt", "json"  # ends of names

Sample = tuple[str, ...]  # the path of an image and of what lies beside it, without the end


def split_end(path: Path) -> tuple[Sample, str]:
    """Return the sample of a file and the end of its name, in small letters."""
    name, _, end = path[-1].rpartition(".")
    return (*path[:-1], name or end), end.lower()


def is_sidecar(path: Path) -> bool:
    """Return whether a file may hold the texts of an image, by the end of its name."""
    return split_end(path)[1] in {CLASS, CAPTION, FIELDS}


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """The texts of a sample, and the end of the file that has them."""

    end: str
    texts: Sequence[str]


def read_sidecar(
    path: Path, data: bytes, kind: DatasetKind, wanted: WantedColumns
) -> Sidecar | None:
    """Return the texts for a dataset of a kind, None if the file has none.

    Classes are those of `.cls`, captions those of `.txt`, and either those of a field of `.json`,
    which is found or named like a column. A named column may also be the end of the file's name.
    """
    end, names = split_end(path)[1], wanted.text_names(kind)
    own = {DatasetKind.LABELLED: CLASS, DatasetKind.CAPTIONED: CAPTION}.get(kind)
    if own is None:
        return None
    plain = names[0] if len(names) == 1 else own
    try:
        if end == plain:
            return Sidecar(end=end, texts=[" ".join(data.decode("utf-8-sig").split())])
        if end != FIELDS:
            return None
        return Sidecar(end=end, texts=texts_of(json.loads(data), names, kind))
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration, RecursionError):
        return None
