"""Pack rules of the service into the client: `make install`, or this file as a script.

`perennial verify` recomputes verdicts by the service's own rules, without the service, and what
`perennial mlflow mirror` makes loadable sees images and compares classes as the service does.
Packed is what the roots import of `core`, and nothing of it is kept here.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

CLIENT = Path(__file__).parents[1]
CORE = CLIENT.parent / "core"
PACKS = {
    "perennial.rules": ("core.bundles.evidence", "core.bundles.signing"),
    "perennial.mlflow.served.core": ("core.images.pixels", "core.inference.compare"),
}
HEAD = "# Written by building/gate_rules.py from {}: change that.\n"


def write() -> None:
    """Write what is missing or differs, and remove the rest; an archive of the source has it."""
    if (CLIENT / "PKG-INFO").exists():
        return
    modules = dict(packed())
    for package in PACKS:
        for path in _folder(package).rglob("*.py"):
            if path not in modules:
                path.unlink()
    for path, text in modules.items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")


def packed() -> Iterator[tuple[Path, str]]:
    """Yield the path of each packed module with its text."""
    for package, roots in PACKS.items():
        for source in sorted({*_needed(roots)}):
            place = source.relative_to(CORE)
            text = re.sub(r"^from core\b", f"from {package}", source.read_text("utf-8"), flags=re.M)
            yield _folder(package) / place, HEAD.format(f"core/{place.as_posix()}") + text


def _folder(package: str) -> Path:
    return CLIENT.joinpath(*package.split("."))


def _needed(roots: Sequence[str]) -> Iterator[Path]:
    """Yield the files of the roots, of what they import of `core`, and of the packages of these."""
    waiting, known = [*roots], set[str]()
    while waiting:
        name = waiting.pop()
        path = CORE.parent.joinpath(*name.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in known or not source.exists():  # a name that is imported may be no module
            continue
        known.add(name)
        yield source
        waiting.append(name.rpartition(".")[0] or name)
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "core":
                waiting += [str(node.module), *(f"{node.module}.{one.name}" for one in node.names)]


if __name__ == "__main__":
    write()
