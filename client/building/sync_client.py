"""Write the synchronous client from the asynchronous one: `make install`, or this file as a script.

A method differs between the two by `await` and by the kind of its iterators alone, so only the
asynchronous one is written by hand and kept, in `perennial/aio`. This runs before anything is
installed, with the standard library alone.
"""

import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "perennial"
MARK = "# Written by building/sync_client.py from "
CHANGES = (
    (r"\bperennial\.aio\.", "perennial."),
    (r"\basync (?=def|with|for)", ""),
    (r"\bawait asyncio\.sleep\b", "time.sleep"),
    (r"\bawait asyncio\.to_thread\((\w+)\)", r"\1()"),
    (r"^import asyncio\n(?=(?:.*\n)*?import time$)", ""),
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


def written(package: Path = PACKAGE) -> Iterator[tuple[Path, str]]:
    """Yield the path of each synchronous module with its text."""
    for source in sorted((package / "aio").rglob("*.py")):
        place = source.relative_to(package / "aio")
        if place != Path("__init__.py"):
            text = source.read_text("utf-8")
            for pattern, replacement in CHANGES:
                text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
            yield package / place, f"{MARK}perennial/aio/{place.as_posix()}: change that.\n{text}"


def write(package: Path = PACKAGE) -> None:
    """Write each module that is missing or differs, and remove those whose source is gone."""
    modules = dict(written(package))
    found = {path: path.read_text("utf-8") for path in package.rglob("*.py")}
    for path, text in found.items():
        if text.startswith(MARK) and path not in modules:
            path.unlink()
    for path, text in modules.items():
        if found.get(path) != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")


if __name__ == "__main__":
    write()
