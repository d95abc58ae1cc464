"""The files of the documentation, and their addresses below /guide."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from api.http.paths import GUIDE

ROOT = Path(__file__).parents[3]
FIRST = "docs/index.md"
BESIDE = {  # pages that lie beside docs/
    "README.md": "readme",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "client/README.md": "client",
    "models/tiny/README.md": "bundled-model",
}
TYPES = {
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".csv": "text/plain; charset=utf-8",
    ".yml": "text/plain; charset=utf-8",
    ".py": "text/plain; charset=utf-8",
}


@cache
def pages() -> Mapping[str, Path]:
    """Return the pages by their addresses below /guide; the first one has the address ""."""
    found = {"" if name == FIRST else _slug(name): ROOT / name for name in _names(".md")}
    found |= {slug: ROOT / name for name, slug in BESIDE.items() if (ROOT / name).is_file()}
    return found if "" in found else {}


@cache
def files() -> Mapping[str, Path]:
    """Return the pictures, tables and examples by their addresses below /guide."""
    return {name.removeprefix("docs/"): ROOT / name for name in _names(*TYPES)}


@cache
def folders() -> Mapping[str, tuple[str, ...]]:
    """Return the pages of each folder that has no page of its own, by its address."""
    parents = {PurePosixPath(slug).parent.as_posix() for slug in pages()} - {"."}
    return {
        parent: tuple(sorted(s for s in pages() if PurePosixPath(s).parent.as_posix() == parent))
        for parent in parents - pages().keys()
    }


def address_of(target: str, page: Path) -> str | None:
    """Return where a link of a page leads on the web; None for a file that is not shown there."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return target
    if not parts.path:
        return target
    name = _within(page.parent / unquote(parts.path))
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    slug = None if name is None else _known(name)
    if slug is None:
        return None
    return (f"{GUIDE}/{slug}" if slug else GUIDE) + fragment


def _known(name: str) -> str | None:
    if name in {FIRST, "docs"}:
        return ""
    slug = BESIDE.get(name) or _slug(name)
    return slug if slug in pages() or slug in files() or slug in folders() else None


def _within(path: Path) -> str | None:
    """Return the name of a path within the repository, or None."""
    path = path.resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else None


def _slug(name: str) -> str:
    return name.removeprefix("docs/").removesuffix(".md") if name.startswith("docs/") else name


def _names(*endings: str) -> Iterator[str]:
    for path in sorted((ROOT / "docs").rglob("*")):
        if path.suffix in endings and path.is_file():
            yield path.relative_to(ROOT).as_posix()
