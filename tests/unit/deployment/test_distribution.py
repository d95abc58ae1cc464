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

from building.reply_types import DOCUMENT, TYPES
from building.sync_client import written
from tests.support.deployment.requirements import installed_for
from tests.support.places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CLIENT_PROJECT = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())
CLIENT = CLIENT_PROJECT["project"]["dependencies"]
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


def test_the_client_is_packed_with_what_is_written_which_git_ignores(tmp_path: Path) -> None:
    synchronous = {path.relative_to(ROOT / "client").as_posix() for path, _ in written()}
    modules = synchronous | {TYPES.relative_to(ROOT / "client").as_posix()}
    of_builds = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "client", tmp_path / "client", ignore=of_builds)
    for name in modules:
        (tmp_path / "client" / name).unlink(missing_ok=True)
    (tmp_path / "docs").mkdir()
    shutil.copy(DOCUMENT, tmp_path / "docs")
    with tarfile.open(build("sdist", tmp_path / "client", tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
        unpacked = tmp_path / archive.getnames()[0]
    assert all((unpacked / name).exists() for name in modules)
    for module in synchronous:  # not the types: an archive has no document
        (unpacked / module).unlink()
    with ZipFile(build("wheel", unpacked, tmp_path)) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert modules < names
    assert {name.partition("/")[0] for name in names} == {"perennial"}


# Loads what a test names, as if the modules that it names were not installed.
WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv:
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Missing())
"""

SERVICE_AND_DEMO = """
import api.app, demo.__main__, perennial.commands.main, worker.__main__, worker.inference.__main__
"""

COMMAND_MODULES = ("__main__", "commands", "terminal")


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


HELP = 'assert perennial.commands.main.main(["teach", "--help"]) == 0'

OURS = {"perennial", "api", "core", "worker", "cli"}


@pytest.mark.parametrize(
    ("program", "needed", "ours"),
    [
        (SERVICE_AND_DEMO, [*SERVICE, *WORKER, *CLIENT], OURS),
        (client_without() + HELP, CLIENT, {"perennial"}),
        (client_without(*COMMAND_MODULES), CLIENT[:1], {"perennial"}),
    ],
    ids=["service", "command", "library"],
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
    assert {"psutil", "pytest", "onnx"} <= absent
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + program, *(absent | OURS) - ours],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
