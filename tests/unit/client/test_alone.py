"""The client in an environment that has what it needs, and nothing else."""

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.support.deployment.requirements import installed_for
from tests.support.places import ROOT

CLIENT = ROOT / "client"
NEEDED = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]["dependencies"]
COMMAND = ("__main__", "commands", "terminal")
IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path[:0] = sys.argv[1:3]
import perennial
for module in pkgutil.walk_packages(perennial.__path__, "perennial."):
    if module.name.split(".")[1] not in sys.argv[3:]:
        importlib.import_module(module.name)
with perennial.Client("http://127.0.0.1:1", "pk_any", trust_env=False) as client:
    assert not client.is_ready()
if "commands" not in sys.argv[3:]:
    perennial.commands.main.main(["teach", "--help"])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize(
    ("needed", "left_out", "loaded"),
    [(NEEDED[:1], COMMAND, {"httpx"}), (NEEDED, (), {"httpx", "click", "rich"})],
    ids=["library", "command"],
)
def test_the_client_runs_with_what_it_names_alone(
    tmp_path: Path, needed: Sequence[str], left_out: Sequence[str], loaded: set[str]
) -> None:
    info = tmp_path / "perennial_client-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: perennial-client\nVersion: 0\n")
    for name in installed_for(needed):
        for file in distribution(name).files or ():
            top = file.parts[0]
            if not (tmp_path / top).exists() and top != "..":
                (tmp_path / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT_ALL, str(CLIENT), str(tmp_path), *left_out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    help_text, _, names = run.stdout.rstrip().rpartition("\n")
    assert help_text.startswith("Usage: perennial teach") is not bool(left_out)
    found = set(names.split())
    assert {"perennial", *loaded} == found & {"perennial", "httpx", "click", "rich"}
    assert not {"api", "cli", "core", "worker", "torch"} & found
