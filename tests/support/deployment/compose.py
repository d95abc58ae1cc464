"""docker-compose.yml as Compose reads it."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.places import ROOT

FILE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$\{(\w+)(?::(-|\?)([^}]*))?\}")

Service = dict[str, Any]


class Unset(Exception):
    """A variable that the file requires has no value."""


def services(variables: Mapping[str, str]) -> dict[str, Service]:
    """The services with these variables put in. Raises Unset."""
    return read(variables)["services"]


def read(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The whole file; with variables, in their places."""
    whole: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return whole if variables is None else _filled(whole, variables)


def asked() -> dict[str, tuple[str, str]]:
    """Each variable of the file with its form (`?` or `-`) and its default, everywhere the same."""
    found: dict[str, tuple[str, str]] = {}
    for name, *asks in _VARIABLE.findall(FILE.read_text()):
        form, rest = found.setdefault(name, tuple(asks))
        assert [form, rest] == asks, f"{name} is asked for in two ways"
    return found


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {key: _filled(item, variables) for key, item in value.items()}
        case list():
            return [_filled(item, variables) for item in value]
        case str():
            return _VARIABLE.sub(lambda found: _put_in(found, variables), value)
        case _:
            return value


def _put_in(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, form, rest = found.groups()
    if value := variables.get(name):
        return value
    if form != "-":
        raise Unset(rest or name)
    return str(rest)
