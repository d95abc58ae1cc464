"""The servers' programs are installed by one process at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Like apt-get, it fails while another one runs.
APT_GET = """#!/bin/sh
mkdir "$BUSY" || { touch "$BUSY.met"; exit 100; }
sleep 0.2
touch "$BUSY.$1"
rmdir "$BUSY"
"""
# A process that may install packages, whoever runs the test.
INSTALL = """
import os
os.geteuid = lambda: 0
from devtools.servers.programs import try_to_install
try_to_install("redis-server")
"""


def test_processes_that_want_a_program_at_once_install_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "apt-get"
    program.write_text(APT_GET)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("BUSY", str(tmp_path / "busy"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    processes = [subprocess.Popen([sys.executable, "-c", INSTALL]) for _ in range(3)]

    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    names = {path.name for path in tmp_path.iterdir()}
    assert {"busy.update", "busy.install"} <= names
    assert "busy.met" not in names
