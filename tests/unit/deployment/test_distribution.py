"""Requirements and pins: the API comes without torch, all else at pinned releases."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from building.gate_rules import packed
from building.reply_types import DOCUMENT, TYPES
from building.sync_client import written
from tests.support.bundles import OURS as KEYS
from tests.support.bundles import THEIRS
from tests.support.deployment.requirements import installed_for
from tests.support.evaluation.evaluations import answered, by_turns, second_update
from tests.support.evaluation.evidence import Opened, evidence_of, forged
from tests.support.places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CLIENT_PROJECT = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())
CLIENT = CLIENT_PROJECT["project"]["dependencies"]
EXTRAS = CLIENT_PROJECT["project"]["optional-dependencies"]
SERVICE = PROJECT["project"]["dependencies"]
WORKER = PROJECT["project"]["optional-dependencies"]["worker"]
TORCH = {"torch", "torchvision"}
TENSOR_PACKAGES = TORCH | {"open-clip-torch", "safetensors", "timm"}


def test_service_and_client_bring_no_package_that_they_do_not_need() -> None:
    assert not TENSOR_PACKAGES & set(installed_for(SERVICE))
    assert set(installed_for([*SERVICE, *WORKER])) >= TENSOR_PACKAGES
    assert [Requirement(line).name for line in CLIENT] == ["httpx", "click", "rich"]
    assert not {"perennial", "fastapi", "pydantic"} & set(installed_for(CLIENT))
    assert f"perennial-client=={CLIENT_PROJECT['project']['version']}" in SERVICE


def build(kind: str, source: Path, to: Path) -> Path:
    """Have the client's back end build from a folder, as pip does, and return the file."""
    program = f"import sys; from building import backend; print(backend.build_{kind}(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-c", program, str(to)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return to / run.stdout.splitlines()[-1]


def written_modules() -> tuple[set[str], set[str]]:
    """Return the ignored files of the client: those an archive can write again, and the others."""
    client = ROOT / "client"
    copied = {TYPES, *(path for path, _ in packed())}
    return tuple(
        {path.relative_to(client).as_posix() for path in paths}
        for paths in ({path for path, _ in written()}, copied)
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's wheel, built from an archive that was built without what git ignores."""
    folder = tmp_path_factory.mktemp("built")
    synchronous, copied = written_modules()
    of_builds = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "client", folder / "client", ignore=of_builds)
    for name in synchronous | copied:
        (folder / "client" / name).unlink(missing_ok=True)
    (folder / "docs").mkdir()
    shutil.copy(DOCUMENT, folder / "docs")
    (folder / "core").symlink_to(ROOT / "core")
    with tarfile.open(build("sdist", folder / "client", folder)) as archive:
        archive.extractall(folder, filter="data")
        unpacked = folder / archive.getnames()[0]
    assert all((unpacked / name).exists() for name in synchronous | copied)
    for module in synchronous:  # not the others: an archive has neither document nor service
        (unpacked / module).unlink()
    return build("wheel", unpacked, folder)


def test_the_client_is_packed_with_what_is_written_which_git_ignores(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    synchronous, copied = written_modules()
    assert synchronous | copied < names
    assert "perennial/rules/gate/rules.py" in names
    assert {name.partition("/")[0] for name in names} == {"perennial"}


# Loads what a test names, as if the modules that it names were not installed.
WITHOUT = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in sys.argv:
            return self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
"""

SERVICE_AND_DEMO = """
import api.app, demo.__main__, perennial.commands.main, worker.__main__, worker.inference.__main__
"""

IN_EXTRAS = ("agents", "indexes", "mlflow")
COMMAND_MODULES = ("__main__", "commands", "publishing", "terminal")


def client_without(*left_out: str) -> str:
    """A program that loads all modules of the client but for some, and asks a service."""
    return f"""
import importlib, pkgutil, perennial
for module in pkgutil.walk_packages(perennial.__path__, "perennial."):
    if module.name.split(".")[1] not in {left_out}:
        importlib.import_module(module.name)
with perennial.Client("http://127.0.0.1:1", "pk_any", trust_env=False) as client:
    assert not client.is_ready()
"""


# What publishes at a hub and signs. Nothing is no private key.
PUBLISHING = """
import os, pathlib
from perennial.publishing.hub import Hub
from perennial.publishing.signing import Signer
from perennial.terminal.session import Failure
os.environ["HF_TOKEN"] = "hf_any"
Hub("hf://lab/shoes")
try:
    Signer(pathlib.Path(os.devnull))
except Failure as failure:
    assert "P-256" in failure.message, failure.message
"""

# All but what MLflow loads to serve a model, of which the model's requirements are said.
MIRRORING = """
import perennial.commands.main
from perennial.mlflow import guard, loadable, mirror
"""

HELP = 'assert perennial.commands.main.main(["teach", "--help"]) == 0'

OURS = {"perennial", "api", "core", "worker", "cli"}


@pytest.mark.parametrize(
    ("program", "needed", "ours"),
    [
        (SERVICE_AND_DEMO, [*SERVICE, *WORKER, *CLIENT], OURS),
        (
            client_without(*IN_EXTRAS) + HELP,
            [*CLIENT, *EXTRAS["verify"]],
            {"perennial"},
        ),
        (
            client_without("indexes", "mlflow", "rules") + HELP,
            [*CLIENT, *EXTRAS["mcp"]],
            {"perennial"},
        ),
        (
            client_without("agents", "mlflow", "rules") + HELP,
            [*CLIENT, *EXTRAS["pgvector"], *EXTRAS["qdrant"]],
            {"perennial"},
        ),
        (
            client_without("rules", *IN_EXTRAS) + PUBLISHING,
            [*CLIENT, *EXTRAS["publish"]],
            {"perennial"},
        ),
        (MIRRORING + HELP, [*CLIENT, *EXTRAS["mlflow"]], {"perennial"}),
        (client_without("rules", *IN_EXTRAS) + HELP, CLIENT, {"perennial"}),
        (
            client_without(*COMMAND_MODULES, "rules", *IN_EXTRAS),
            CLIENT[:1],
            {"perennial"},
        ),
    ],
    ids=[
        "service",
        "command and signatures",
        "agents",
        "indexes",
        "publishing",
        "mlflow",
        "command",
        "library",
    ],
)
def test_each_program_runs_with_what_it_names_alone(
    program: str, needed: Sequence[str], ours: set[str]
) -> None:
    there = {"pip", *installed_for(needed)}
    absent = {
        module
        for module, distributions in packages_distributions().items()
        if not there & set(map(canonicalize_name, distributions))
    }
    assert {"psutil", "pytest", "moto"} <= absent
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + program, *(absent | OURS) - ours],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


VERIFYING = """
import perennial.commands.main
assert perennial.__file__.startswith(sys.path[1]), perennial.__file__
sys.exit(perennial.commands.main.main(sys.argv[1].split()))
"""


def test_the_installed_client_verifies_evidence_without_the_service(
    wheel: Path, tmp_path: Path
) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    plan = second_update()
    good = evidence_of(plan, answered(plan, by_turns))

    def pass_it(made: Opened) -> None:
        made.report["verdict"] = "passed"

    (tmp_path / "good.zip").write_bytes(good)
    (tmp_path / "bad.zip").write_bytes(forged(good, pass_it))
    (tmp_path / "cut.zip").write_bytes(good[:-100])

    others = OURS - {"perennial"}

    def verify(file: str, key: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT + VERIFYING, f"verify {file} --key {key}", *others],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path / "installed")},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    code, told = verify("good.zip", KEYS.public)
    assert (code, "Signature: valid" in told, "Equal: " in told) == (0, True, True), told
    code, told = verify("bad.zip", KEYS.public)
    assert (code, "- verdict: passed in the report, failed recomputed" in told) == (1, True)
    code, told = verify("good.zip", THEIRS.public)
    assert (code, "not signed by this key" in told) == (1, True)
    assert verify("cut.zip", KEYS.public)[0] == 2
