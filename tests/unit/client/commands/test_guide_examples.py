"""The commands and the Python examples of the documentation, page by page."""

import base64
import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import click
import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from api.http.routing import FIRST_STEPS
from core.datasets.manifests import Side
from core.first_steps import first_steps
from core.first_steps.first_steps import Step
from devtools.servers import PASSWORD
from perennial.commands.main import main, perennial
from perennial.terminal.session import KEY, URL
from tests.support.api.image_files import picture, pictures_on
from tests.support.api.service import KEY as ADMIN
from tests.support.places import ROOT
from tests.support.servers import oci as registries
from tests.unit.client.commands.conftest import Site, a_site

NEWCOMERS = ("README.md", "docs/quickstart.md")  # run before the others, which need their images

# In this order: how-to/ci makes version 2 of `demo`, client/README the dataset `products`. What a
# page says that others say too, or that stands for something, is said in other words.
PAGES: Mapping[str, Mapping[str, str]] = {
    "docs/quickstart.md": {},
    "docs/how-to/ci.md": {},
    "README.md": {},
    "docs/commands.md": {},
    "client/README.md": {r"\bdemo\b": "library"},
    "docs/embeddings.md": {r"UklGR\.\.\.": base64.b64encode(picture(70)).decode()},
    "docs/old-vectors.md": {"--output bridge": "--output of-small-vectors"},
    "docs/exports.md": {},
    "docs/how-to/publish.md": {},
    "docs/trials.md": {  # where version 2 is live, and 1 the root
        "start demo:2 --shadow": "start demo:1 --shadow",
        "perennial (trial start demo:2 --canary.*)": (
            r"perennial rollback demo --to 1 --reason back\nperennial \1 --reason try\n"
            "perennial promote demo:2 --reason again"
        ),
        "perennial (trial to-label demo.*)": (
            r"perennial trial start demo:1 --shadow\nperennial \1\nperennial trial stop demo"
        ),
    },
    "docs/how-to/own-model.md": {},
    "docs/how-to/own-suites.md": {},
    "docs/how-to/policy.md": {},
    "docs/how-to/report.md": {},
    "docs/how-to/verify.md": {},
    "docs/how-to/production.md": {},
    "docs/how-to/bf16.md": {},
}

ELSEWHERE = {  # what the commands of other pages need, and the test of it
    "docs/access.md": "requests by curl, which test_document looks up in docs/openapi.json",
    "docs/api.md": "requests by curl, likewise",
    "docs/bundles.md": "the making of a key by openssl, and a setting",
    "docs/datasets.md": "imports of files and of a bucket, which tests/api/imports orders",
    "docs/examples/label_studio/README.md": "a back end, which test_label_studio runs",
    "docs/how-to/gpu.md": "a GPU, which tests/gpu take",
    "docs/how-to/kueue.md": "a cluster; test_chart takes its values and objects",
    "docs/how-to/mlflow.md": "an MLflow registry, in which test_mlflow runs them",
    "docs/how-to/vector-index.md": "PostgreSQL with pgvector; test_index_commands runs them there",
    "docs/how-to/tls.md": "a proxy with a name of its own",
    "docs/kubernetes.md": "a cluster; tests/unit/deployment renders the chart",
    "docs/operations.md": "servers; tests/journeys/test_compose starts those of Compose",
    "docs/webhooks.md": "a receiver, run by tests/unit/webhooks/test_client",
}

# What asks a person, or needs what one has filled in; what installs packages, or asks by curl.
NOT_HERE = re.compile(
    r"(perennial login|perennial suite (to-)?label|(\.venv/bin/)?pip install|call) ?"
)

WIDTH = 4  # of the vectors on docs/old-vectors.md

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
    for archive, wanted in (("twemoji", emoji), ("fashion_mnist", products)):
        packed = folder / f"demo/pack/{archive}.zip"
        packed.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        with zipfile.ZipFile(packed, "w") as pack:
            for place, count in wanted.items():
                for number in range(count):
                    path = f"{place}/{number:04}.webp"
                    split, name = place.split("/")
                    if name != "emoji_7":  # which looks like the one before, as some do
                        image = next(pictures)
                    pack.writestr(path, image)
                    lines.append(json.dumps({"path": path, "cls": name, "split": split}))
            pack.writestr("captions.jsonl", "\n".join(lines))
    for place in (
        "new-images/cup",
        "new-images/plate",
        "shelf-images/jar",
        "more-shelf-images/jar",
        "captioned-images",
        "unlabelled-images",
    ):
        (folder / place).mkdir(parents=True)
        for number in range(4):
            (folder / place / f"{number}.png").write_bytes(next(pictures))
    captions = [{"path": f"{n}.png", "captions": [f"jar {n}", f"a jar, {n}"]} for n in range(4)]
    lines = "\n".join(map(json.dumps, captions))
    for place in ("train/bag", "train/sandal", "test/bag"):
        (folder / place).mkdir(parents=True)
        for number in range(4):
            (folder / place / f"{number:04}.webp").write_bytes(next(pictures))
    (folder / "boot.webp").write_bytes(next(pictures))
    bridge = {"weight": np.eye(WIDTH, dtype=np.float32), "bias": np.zeros(WIDTH, np.float32)}
    save_file(bridge, folder / "bridge.safetensors")
    (folder / "captioned-images/captions.jsonl").write_text(lines)
    (folder / "names.txt").write_text("jar\nlid\n")
    return folder


def _pictures() -> Iterator[bytes]:
    """Images in turn from each side of the split."""
    for pair in zip(pictures_on(Side.TRAIN, 50), pictures_on(Side.HOLDOUT, 50), strict=True):
        yield from pair


@pytest.fixture
def shell(folder: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, and the environment of an admin who has logged in."""
    log_in(site, folder, monkeypatch)
    monkeypatch.setattr("core.vectors.rules.LEAST_FITTED", 1)  # few images
    return folder


def log_in(site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to the folder as an admin who has logged in."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv(URL, site.url)
    monkeypatch.setenv(KEY, ADMIN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def library(site: Site) -> None:
    """A model `library`, whose gate takes few images."""
    job = site.client.models.create("library", policy="few", suites=["pets"])
    site.client.jobs.wait(job["id"], every=0.05)


@pytest.mark.parametrize("first", ["browser", "terminal"])
def test_the_first_steps_and_the_pages_for_newcomers_share_a_home(
    first: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_steps, "PACK", folder / "demo/pack")
    monkeypatch.setattr(first_steps, "PER_CLASS", 4)
    with a_site(tmp_path, "other") as site:
        log_in(site, folder, monkeypatch)
        if first == "browser":
            take_first_steps(site)
        for page in NEWCOMERS:
            run_page(page, site, monkeypatch)
        if first == "terminal":
            take_first_steps(site)
        models = {model["name"]: model["suites"] for model in site.client.models.list()}
        assert models == {
            "demo": ["emoji"],
            "bags": ["emoji"],
            "first": ["emoji"],
            "other": ["pets"],
        }


MADE = re.compile(r"model create (\w+)|/models --json '\{\"name\": \"(\w+)\"")


def test_each_model_is_made_by_one_page_and_none_by_the_first_steps_too() -> None:
    pages = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "client/README.md"]
    made = [
        one or other
        for page in pages
        for shown in re.findall(r"^```.*?^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        for one, other in MADE.findall(shown)
    ]
    assert len(made) >= 7
    assert len({first_steps.MODEL, *made}) == len(made) + 1, made


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A registry of OCI artifacts, in words that replace those of a page."""
    with registries.a_registry(tmp_path_factory.mktemp("registry")) as host:
        login = f"OCI_USER={registries.USER} OCI_PASSWORD={PASSWORD}"
        yield {r"registry\.example\.com": host, r"OCI_USER=\S+ OCI_PASSWORD=\S+": login}


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("page", [page for page in PAGES if page not in NEWCOMERS])
def test_a_page_does_what_it_says(
    page: str,
    shell: Path,
    site: Site,
    registry: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_page(page, site, monkeypatch, registry)


def take_first_steps(site: Site) -> None:
    """Press the buttons of the first steps in turn, each when the jobs of the last are done."""
    with httpx.Client(base_url=site.url, trust_env=False, headers={"Origin": site.url}) as browser:
        browser.post("/ui/sign-in", data={"key": ADMIN})
        for step in ("images", "model", "teach"):
            token = re.search(r'name="token" value="([^"]+)"', browser.get(FIRST_STEPS).text)
            assert token
            browser.post(f"{FIRST_STEPS}/{step}", data={"token": token[1]})
            while first_steps.read_progress(site.platform).waits:
                time.sleep(0.05)
    assert first_steps.read_progress(site.platform).now == {Step.READ, Step.PROMOTE}


def run_page(
    page: str, site: Site, monkeypatch: pytest.MonkeyPatch, more: Mapping[str, str] | None = None
) -> None:
    """Run the commands and examples of a page."""
    blocks = blocks_of(page)
    assert blocks
    for language, written in blocks:
        text = in_other_words(written, {**PAGES[page], **stand_ins(site), **(more or {})})
        if language == "python":
            with redirect_stdout(io.StringIO()):
                exec(compile(text, page, "exec"), {"old": np.ones((3, WIDTH), np.float32)})
            continue
        for line in text.replace("\\\n", "").splitlines():
            if line.startswith("perennial ") and not NOT_HERE.match(line):
                _run(line)
            elif line and not NOT_HERE.match(line):
                for name, value in _exported(line).items():
                    monkeypatch.setenv(name, value)


def in_other_words(text: str, words: Mapping[str, str]) -> str:
    """A text with matches of patterns replaced."""
    for pattern, here in words.items():
        text = re.sub(pattern, here, text)
    return text


def stand_ins(site: Site) -> dict[str, str]:
    """Values that replace the address, the key, the job and the policy that a page names."""
    return {
        "http://127.0.0.1:8750": site.url,
        r"pk_\.\.\.": ADMIN,
        r"job_\.\.\.": next(iter(site.client.jobs.list()))["id"],
        r"model create (bags|tour)": r"model create \1 --policy few",
    }


def blocks_of(page: str) -> list[tuple[str, str]]:
    """The commands and the examples of a page, each with its language."""
    return BLOCK.findall((ROOT / page).read_text("utf-8"))


def _run(line: str) -> None:
    """Run a command in this process, as the shell would."""
    to = TO_FILE.search(line)
    words = shlex.split(os.path.expandvars(TO_FILE.sub("", line)), comments=True)[1:]
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


@pytest.mark.parametrize("page", PAGES)
def test_what_an_example_reads_of_the_environment_is_said_before_it(page: str) -> None:
    before, reads, _ = (ROOT / page).read_text("utf-8").partition('environ["PERENNIAL_KEY"]')
    assert not reads or "PERENNIAL_KEY=" in before or "environment" in before


COMMAND = re.compile(r"(?:^|\.venv/bin/)perennial ([a-z-]+ ?.*)")
SHOWN = re.compile(r"^\$ perennial ([a-z-]+ ?.*)", flags=re.MULTILINE)  # with what it prints
REDIRECTION = re.compile(r"\s(?:[<>|]|2>&1).*|\)$")


def commands_of(page: str) -> Iterator[list[str]]:
    """The words of every command on a page, behind its name."""
    for _, text in blocks_of(page):
        for found in filter(None, map(COMMAND.search, text.splitlines())):
            yield shlex.split(REDIRECTION.sub("", found[1]), comments=True)
    for shown in SHOWN.findall((ROOT / page).read_text("utf-8")):
        yield shlex.split(REDIRECTION.sub("", shown), comments=True)


# Pages whose commands are shown with what they print, and the test that runs them.
TOLD = {"docs/how-to/agents.md": "a program that runs agents, for which test_agents stands"}


@pytest.mark.parametrize("page", [*PAGES, *ELSEWHERE, *TOLD])
def test_the_commands_of_a_page_are_ones_that_there_are(page: str) -> None:
    """Also those that are not run."""
    for words in commands_of(page):
        context, command = click.Context(perennial), perennial.get_command(None, words[0])  # type: ignore[arg-type]
        rest = words[1:]
        while isinstance(command, click.Group):
            command, rest = command.get_command(context, rest[0]), rest[1:]
        assert command is not None, words
        given, left, _ = command.make_parser(click.Context(command)).parse_args(rest)
        assert left == [], words
        for parameter in command.params:
            assert given.get(parameter.name) or not parameter.required, words


def test_every_page_with_commands_or_examples_is_run() -> None:
    pages = [ROOT / "README.md", ROOT / "client/README.md", *(ROOT / "docs").rglob("*.md")]
    names = (str(page.relative_to(ROOT)) for page in pages)
    assert {name for name in names if blocks_of(name)} == PAGES.keys() | ELSEWHERE.keys()
    assert not PAGES.keys() & ELSEWHERE.keys()
