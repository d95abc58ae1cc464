"""No document or contract names a module, a file or a definition that is missing."""

import re
from functools import cache
from pathlib import Path

from tests.support.places import ROOT, sources

# Packages, and folders with Python files. "client" is left out of dotted names: it is a variable.
PACKAGES = "api|benchmarks|building|cli|core|demo|devtools|migrations|perennial|tests|worker"
DOTTED = re.compile(rf"(?<![\w./@-])(?:{PACKAGES})(?:\.[A-Za-z_]\w*)+(?![\w(]*/)")
NOT_MODULES = ("db", "env", "json", "md", "tar", "yaml")  # as in perennial.db and api.md
MUTANT = re.compile(r"x(?:_|ǁ\w+ǁ)(\w+)__mutmut_\d+$")
READ = (".md", ".toml", ".yml", ".yaml", ".ini", ".html", "Makefile", "Dockerfile", "run")
# Where a dotted name is a value of Helm's, or a file tells of what was.
NOT_READ = ("deploy/helm/", "docs/kubernetes.md", "docs/openapi", "CHANGELOG.md")


@cache
def text_of(path: Path) -> str:
    return path.read_text("utf-8")


def named(pattern: re.Pattern[str], *endings: str) -> set[tuple[str, str]]:
    """The matches of a pattern in all files that are read and end so, each with its file."""
    return {
        (name, match)
        for name in sources()
        if name.endswith(endings) and not name.startswith(NOT_READ)
        for match in pattern.findall(text_of(ROOT / name))
    }


def exists(name: str) -> bool:
    """Return whether a dotted name is that of a module or of something that its file names.

    The file of a package is its `__init__.py`, which need not exist.
    """
    in_client = name.startswith(("perennial.", "building."))
    place = ROOT / "client" if in_client else ROOT
    parts = name.split(".")
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    file = place / "__init__.py"
    if parts and (place / f"{parts[0]}.py").exists():
        file = place / f"{parts.pop(0)}.py"
    if not parts or parts[0] == "__main__":
        return True
    mutant = MUTANT.match(parts[0])
    wanted = mutant[1] if mutant else parts[0]
    return file.exists() and re.search(rf"\b{wanted}\b", text_of(file)) is not None


def is_name_of_code(name: str) -> bool:
    """Tell names of code from files, and from names of messages and spans: `perennial.job`."""
    parts = name.split(".")
    return parts[1] not in NOT_MODULES and (parts[0] != "perennial" or len(parts) > 2)


def test_every_dotted_name_in_a_document_exists() -> None:
    found = {(file, name) for file, name in named(DOTTED, *READ) if is_name_of_code(name)}
    assert len(found) > 100
    assert {(file, name) for file, name in found if not exists(name)} == set()
