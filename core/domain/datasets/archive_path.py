"""Paths of files in archives: they name files and classes, and never a place on a disk."""

import re
import unicodedata

from core.errors import ArchiveUnsafe

Path = tuple[str, ...]  # the folders and, last, the file

_DRIVE = re.compile(r"[A-Za-z]:")
_SYSTEM = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_SHOWN = 300  # characters
MOST_CHARACTERS = 1_000  # of a path; all paths of an archive are kept until its files are named
_LISTS = (".csv", ".jsonl")


def path_of(written: str) -> Path:
    """Return a path as its parts, in Unicode's form NFC, since macOS writes accents in another.

    Raises ArchiveUnsafe for one that leads out of the archive or is too long.
    """
    if len(written) > MOST_CHARACTERS:
        raise ArchiveUnsafe(
            f"A file has a path of more than {MOST_CHARACTERS:,} characters.",
            file=shown([written]),
        )
    parts = re.split(r"[/\\]", unicodedata.normalize("NFC", written))
    if parts[0] == "" or ".." in parts or _DRIVE.match(written):
        raise ArchiveUnsafe(
            "A file has a path that leads out of what is imported.", file=shown([written])
        )
    return tuple(part for part in parts if part not in {"", "."})


def shown(path: Path | list[str]) -> str:
    """Return a path as text for people: without unprintable characters, and cut."""
    return "".join(letter for letter in "/".join(path) if letter.isprintable())[:_SHOWN]


def is_ignored(path: Path) -> bool:
    """Return whether a file is hidden, or one that systems put beside others."""
    return not path or any(part.startswith(".") or part in _SYSTEM for part in path)


def is_list(path: Path) -> bool:
    """Return whether a file is an image list, by the end of its name."""
    return path[-1].lower().endswith(_LISTS)


def folder_of(path: Path) -> str | None:
    """Return the name of the folder that holds a file, or None at the top of the archive."""
    return path[-2] if len(path) > 1 else None
