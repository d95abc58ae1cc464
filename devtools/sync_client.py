"""Write the synchronous client from the asynchronous one: `python -m devtools.sync_client`.

A method differs between the two by `await` and by the kind of its iterators alone, so only the
asynchronous one is written by hand, in `client/perennial/aio`.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "client" / "perennial"
BY_HAND = {"__init__.py", "blocking.py"}
HEADER = "# Written by `python -m devtools.sync_client` from {source}: change that.\n"
CHANGES = (
    (r"\bperennial\.aio\.", "perennial."),
    (r"\basync (?=def|with|for)", ""),
    (r"\bawait asyncio\.sleep\b", "time.sleep"),
    (r"^import asyncio$", "import time"),
    (r"\bawait ", ""),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bAsync(?=Iterator|Iterable|Client)", ""),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\bAwaitable, ", ""),
    (r"\b__a(?=enter__|exit__)", "__"),
    (r"\ba(close|read|iter_raw|iter_lines)\(", r"\1("),
    (r"The asynchronous client", "The client"),
)


def written() -> Iterator[tuple[Path, str]]:
    """Yield the path of each synchronous module with its text."""
    for source in sorted((PACKAGE / "aio").rglob("*.py")):
        if source.name not in BY_HAND:
            place = source.relative_to(PACKAGE / "aio")
            yield PACKAGE / place, _synchronous(source.read_text("utf-8"), source)


def _synchronous(text: str, source: Path) -> str:
    for pattern, replacement in CHANGES:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    text = HEADER.format(source=source.relative_to(PACKAGE.parent)) + text
    return _tidied(_tidied(text, "check", "--fix-only", "--quiet"), "format")


def _tidied(text: str, *command: str) -> str:
    """Return a module as ruff leaves it."""
    ruff = [str(Path(sys.executable).with_name("ruff")), *command]
    path = str(PACKAGE / "client.py")  # whose settings apply
    run = subprocess.run(
        [*ruff, "--stdin-filename", path, "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


def main() -> None:
    """Write all modules."""
    for path, text in written():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
