"""The client in an environment that has httpx, what httpx needs, and nothing else."""

import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from tests.support.places import ROOT
from tests.support.requirements import installed_for

CLIENT = ROOT / "client"
IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path[:0] = sys.argv[1:]
import perennial
for module in pkgutil.walk_packages(perennial.__path__, "perennial."):
    importlib.import_module(module.name)
with perennial.Client("http://127.0.0.1:1", "pk_any", trust_env=False) as client:
    assert not client.is_ready()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_client_runs_with_httpx_alone(tmp_path: Path) -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    for name in installed_for(project["dependencies"]):
        for file in distribution(name).files or ():
            top = file.parts[0]
            if not (tmp_path / top).exists() and top != "..":
                (tmp_path / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT_ALL, str(CLIENT), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert {"perennial", "httpx"} <= set(run.stdout.split())
    assert not {"api", "cli", "core", "worker", "torch"} & set(run.stdout.split())
