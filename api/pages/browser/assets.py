"""Static files, under names that change with their bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from api.http.paths import STATIC
from api.pages.page import environment
from core.domain.values import sha256

TYPES: Mapping[str, str] = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
HASH = 16  # characters of a file's SHA-256 in its name


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A static file."""

    name: str  # with its hash
    data: bytes
    media_type: str


def url_of(name: str) -> str:
    """Return the URL of a file, such as app.css."""
    return STATIC + _by_name()[name].name


def find_asset(name: str) -> Asset | None:
    """Return the file that has this name, hash included."""
    return next((asset for asset in _by_name().values() if asset.name == name), None)


@cache
def _by_name() -> Mapping[str, Asset]:
    folder = files("api.pages") / "static"
    found = {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.name.rpartition(".")[2] in TYPES
    }
    style = environment().get_template("pages/app.css").render()
    return {name: _asset(name, data) for name, data in {**found, "app.css": style.encode()}.items()}


def _asset(name: str, data: bytes) -> Asset:
    stem, _, ending = name.rpartition(".")
    hashed = f"{stem}.{sha256(data)[:HASH]}.{ending}"
    return Asset(name=hashed, data=data, media_type=TYPES[ending])
