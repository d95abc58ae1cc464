"""The address and the key that commands use: of the environment, or stored by `login`."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from perennial.terminal.failures import Failure

URL, KEY = "PERENNIAL_URL", "PERENNIAL_KEY"
DEFAULT_URL = "http://127.0.0.1:8750"


@dataclass(frozen=True, kw_only=True)
class Login:
    """A service and a key of it."""

    url: str
    key: str


def current() -> Login:
    """Return the login that commands use. Raises Failure if there is none.

    A stored key is sent to its own service only.
    """
    url, key, known = os.environ.get(URL), os.environ.get(KEY), stored()
    if key:
        return Login(url=url or (known.url if known else DEFAULT_URL), key=key)
    if known and url in {None, "", known.url}:
        return known
    if known:
        raise Failure(f"The stored key belongs to {known.url}. Set {KEY} for {url} as well.")
    raise Failure(f"You are not logged in: run `perennial login`, or set {URL} and {KEY}.")


def stored() -> Login | None:
    """Return the stored login, if there is one. Raises Failure if its file is damaged."""
    path = _path()
    try:
        return Login(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise Failure(f"{path} is damaged: run `perennial login` again.") from error


def store(login: Login) -> Path:
    """Store a login in a file that its owner alone may read, and return the path."""
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    # A temporary file has mode 0600 from its first byte on.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump(asdict(login), file)
    return Path(file.name).replace(path)


def forget() -> None:
    """Delete the stored login, if there is one."""
    _path().unlink(missing_ok=True)


def _path() -> Path:
    return Path(click.get_app_dir("perennial")) / "login.json"
