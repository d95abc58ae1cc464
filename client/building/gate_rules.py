"""Pack the gate's rules into the client: `make install`, or this file as a script.

`perennial verify` recomputes verdicts by the service's own rules, without the service. What is
packed is what `ROOTS` import of `core`, the standard library aside; nothing of it is kept here.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

CLIENT = Path(__file__).parents[1]
CORE = CLIENT.parent / "core"
PACKED = CLIENT / "perennial" / "rules"
ROOTS = ("core.bundles.evidence", "core.bundles.signing")
HEAD = "# Written by building/gate_rules.py from {}: change that.\n"


def write() -> None:
    """Write what is missing or differs, and remove the rest; an archive of the source has it."""
    if (CLIENT / "PKG-INFO").exists():
        return
    modules = dict(packed())
    for path in PACKED.rglob("*.py"):
        if path not in modules:
            path.unlink()
    for path, text in modules.items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")


def packed() -> Iterator[tuple[Path, str]]:
    """Yield the path of each packed module with its text."""
    for source in sorted({*_needed()}):
        place = source.relative_to(CORE)
        text = re.sub(
            r"^from core\b", "from perennial.rules", source.read_text("utf-8"), flags=re.M
        )
        yield PACKED / place, HEAD.format(f"core/{place.as_posix()}") + text


def _needed() -> Iterator[Path]:
    """Yield the files of the roots, of what they import of `core`, and of the packages of these."""
    waiting, known = [*ROOTS], set[str]()
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
