"""The commands and the Python examples of the guide's how-tos, in the order of its contents."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from core.domain.datasets.split import Side
from perennial.commands.main import main
from perennial.terminal.login import KEY, URL
from tests.support.api.image_files import pictures_on
from tests.support.api.service import KEY as ADMIN
from tests.support.places import ROOT
from tests.unit.client.commands.conftest import Site

HOW_TO = ("ci", "own-model", "own-suites", "policy", "report", "production")  # ci makes version 2
PAGES = ("quickstart", *(f"how-to/{name}" for name in HOW_TO))
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
TO_FILE = re.compile(r" > (\S+)$")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images that the pages name; examples run in it."""
    folder = tmp_path_factory.mktemp("examples")
    pictures = _pictures()
    emoji = {f"heldout_style/emoji_{n}": 1 for n in range(8)}
    products = {f"train/{name}": 4 for name in ("bag", "coat", "dress", "sandal")}
    products |= {"test/bag": 1, "test/coat": 1}
    for name, wanted in (("twemoji", emoji), ("fashion_mnist", products)):
        packed = folder / f"demo/pack/{name}.zip"
        packed.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        with zipfile.ZipFile(packed, "w") as pack:
            for place, count in wanted.items():
                for number in range(count):
                    path = f"{place}/{number:04}.webp"
                    pack.writestr(path, next(pictures))
                    lines.append(json.dumps({"path": path, "caption": place.split("/")[1]}))
            pack.writestr("captions.jsonl", "\n".join(lines))
    for place in ("new-images/cup", "new-images/plate", "shelf-images/jar", "captioned-images"):
        (folder / place).mkdir(parents=True)
        for number in range(4):
            (folder / place / f"{number}.png").write_bytes(next(pictures))
    captions = [{"path": f"{n}.png", "captions": [f"jar {n}", f"a jar, {n}"]} for n in range(4)]
    lines = "\n".join(map(json.dumps, captions))
    (folder / "captioned-images/captions.jsonl").write_text(lines)
    return folder


def _pictures() -> Iterator[bytes]:
    """Images in turn from each side of the split."""
    for pair in zip(pictures_on(Side.TRAIN, 40), pictures_on(Side.HOLDOUT, 40), strict=True):
        yield from pair


@pytest.fixture
def shell(folder: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, and the environment of an admin who has logged in."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv(URL, site.url)
    monkeypatch.setenv(KEY, ADMIN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(page: str, shell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BLOCK.findall((ROOT / f"docs/{page}.md").read_text("utf-8"))
    assert blocks
    for language, text in blocks:
        if language == "python":
            with redirect_stdout(io.StringIO()):
                exec(compile(text, f"{page}.md", "exec"), {})
            continue
        for line in text.splitlines():
            if line.startswith("perennial "):
                _run(line)
            elif line:
                for name, value in _exported(line).items():
                    monkeypatch.setenv(name, value)


def _run(line: str) -> None:
    """Run a command in this process, as the shell would."""
    to = TO_FILE.search(line)
    words = shlex.split(os.path.expandvars(TO_FILE.sub("", line)), comments=True)[1:]
    if words == ["login"]:  # asks a person
        return
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(words)
    assert code == 0, f"{line}\n{out.getvalue()}{err.getvalue()}"
    if to:
        Path(to[1]).write_text(out.getvalue())


def _exported(line: str) -> dict[str, str]:
    """Run any other line in a shell; the variables that it has set."""
    command = f'python3() {{ {sys.executable} "$@"; }}; set -ae; {line}\nenv -0'
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    found = dict(pair.split("=", 1) for pair in ended.stdout.split("\0") if "=" in pair)
    return {name: value for name, value in found.items() if os.environ.get(name) != value}


def test_every_how_to_is_run() -> None:
    assert {path.stem for path in (ROOT / "docs/how-to").glob("*.md")} == set(HOW_TO)
