"""No text, contract or document names a module, a file or a definition that is missing."""

import ast
import re
from functools import cache
from pathlib import Path

from tests.support.places import ROOT, sources

# Packages, and folders with Python files. "client" is left out of dotted names: it is a variable.
PACKAGES = "api|benchmarks|building|cli|core|demo|devtools|migrations|perennial|tests|worker"
DOTTED = re.compile(rf"(?<![\w./@-])(?:{PACKAGES})(?:\.[A-Za-z_]\w*)+(?![\w(]*/)")
FILE = re.compile(rf"(?<![\w./-])(?:client|deploy|models|{PACKAGES})/[\w/-]+\.py\b")
IMPORT_FROM = re.compile(
    rf"^\s*from ((?:{PACKAGES})(?:\.\w+)*) import (\([^)]*\)|[^(\n]+)$", re.MULTILINE
)
DEFINITION = re.compile(
    r"^\s*(?:(?:async )?def|class|import) (\w+)|^\s*\(?([\w, ]+)\)?(?:: [^=\n]+)? = ", re.MULTILINE
)
ABSENT = {"core.no_such_module"}  # which a test imports
NOT_MODULES = ("db", "env", "json", "md", "tar", "yaml")  # as in perennial.db and api.md
MUTANT = re.compile(r"x(?:_|ǁ\w+ǁ)(\w+)__mutmut_\d+$")
READ = (".md", ".toml", ".yml", ".yaml", ".ini", ".html", "Makefile", "Dockerfile", "run")
# Where a dotted name is a value of Helm's, or a file tells of what was.
NOT_READ = ("deploy/helm/", "docs/kubernetes.md", "docs/openapi", "CHANGELOG.md")


@cache
def files() -> tuple[str, ...]:
    """The files of the repository."""
    return tuple(sources())


@cache
def text_of(path: Path) -> str:
    """The text of a file."""
    return path.read_text("utf-8")


@cache
def defined(path: Path) -> frozenset[str]:
    """The names that a module defines or imports, also inside of functions and classes."""
    text = text_of(path)
    found = set(re.findall(r"\w+", " ".join(map(" ".join, DEFINITION.findall(text)))))
    for module, names in IMPORT_FROM.findall(text):
        found |= set(re.findall(r"\w+", names))
        if names.strip() == "*":
            found |= defined(module_of(module)[0])
    return frozenset(found)


def module_of(name: str) -> tuple[Path, list[str]]:
    """The file of the longest module that a dotted name begins with, and the rest of the name.

    The file of a package is its `__init__.py`, which need not exist.
    """
    in_client = f"{name}.".startswith(("perennial.", "building."))
    place = ROOT / "client" if in_client else ROOT
    parts = name.split(".")
    for index, part in enumerate(parts):
        if (place / part).is_dir():
            place /= part
        elif (place / f"{part}.py").exists():
            return place / f"{part}.py", parts[index + 1 :]
        else:
            return place / "__init__.py", parts[index:]
    return place / "__init__.py", []


def exists(name: str) -> bool:
    """Return whether a dotted name is that of a module or of something defined in one."""
    file, rest = module_of(name)
    if not rest or rest[0] in ("__main__", "__path__", "__file__"):
        return True
    mutant = MUTANT.match(rest[0])
    return file.exists() and (mutant[1] if mutant else rest[0]) in defined(file)


def named(pattern: re.Pattern[str]) -> set[tuple[str, str]]:
    """The matches of a pattern in all files that are read, each with its file."""
    return {
        (name, match)
        for name in files()
        if name.endswith((".py", *READ)) and not name.startswith(NOT_READ)
        for match in pattern.findall(text_of(ROOT / name))
    }


def in_a_text(file: str, name: str) -> bool:
    """Return whether a name is in a text: in Python in a string or a comment, not in code."""
    text = text_of(ROOT / file)
    if not file.endswith(".py"):
        return True
    strings = (
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    word = re.compile(rf"(?<![\w.]){re.escape(name)}")
    return any(map(word.search, [*strings, *re.findall("#.*", text)]))


def is_name_of_code(name: str) -> bool:
    """Tell names of code from files, and from names of messages and spans: `perennial.job`."""
    parts = name.split(".")
    return parts[1] not in NOT_MODULES and (parts[0] != "perennial" or len(parts) > 2)


def test_every_dotted_name_in_a_text_exists() -> None:
    found = {(file, name) for file, name in named(DOTTED) if is_name_of_code(name)}
    assert len(found) > 1000
    assert {
        (file, name)
        for file, name in found
        if not exists(name) and name not in ABSENT and in_a_text(file, name)
    } == set()


def test_every_python_file_in_a_text_exists() -> None:
    found = named(FILE)
    assert len(found) > 100
    assert {
        (file, name)
        for file, name in found
        if not (ROOT / name).exists() and not (ROOT / "client" / name).exists()
    } == set()
