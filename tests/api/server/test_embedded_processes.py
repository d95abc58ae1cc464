"""The embedded service's other processes: kept alive, stopped, never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from api.embedded import EmbeddedProcesses, to_environment
from core.settings import ImportBucket, Settings
from tests.support.places import ROOT

GENTLE, STUBBORN, BUSY = "gentle_companion", "stubborn_companion", "busy_companion"

_GENTLE = """
import os, pathlib, sys, threading
pathlib.Path(os.environ["PERENNIAL_HOME"], f"{os.getpid()}.pid").touch()
assert sys.argv[1:] == ["--exit-with-parent"]
while os.read(0, 100):
    pass
"""

_STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _GENTLE

_BUSY = """
import os, pathlib, signal, sys, time
def end(*_):
    time.sleep(0.5)
    pathlib.Path(os.environ["PERENNIAL_HOME"], "given back").touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(os.environ["PERENNIAL_HOME"], f"{os.getpid()}.pid").touch()
time.sleep(60)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where companions leave their process ids, with modules for them to run."""
    (tmp_path / f"{GENTLE}.py").write_text(_GENTLE)
    (tmp_path / f"{STUBBORN}.py").write_text(_STUBBORN)
    (tmp_path / f"{BUSY}.py").write_text(_BUSY)
    monkeypatch.setattr("api.embedded.MARGIN_S", 0.1)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    return tmp_path


@pytest.fixture
def started(home: Path) -> Iterator[Callable[..., EmbeddedProcesses]]:
    """Start companions; whatever a test does, they are stopped at its end."""
    made: list[EmbeddedProcesses] = []

    def start(*modules: str, grace_s: float = 0.3) -> EmbeddedProcesses:
        companions = EmbeddedProcesses(Settings(home=home, grace_seconds=grace_s), modules)
        companions.start()
        made.append(companions)
        return companions

    yield start
    for companions in made:
        companions.stop()


def pids(home: Path, count: int) -> list[int]:
    """The ids that so many companions have left, once they have."""
    eventually(lambda: len(list(home.glob("*.pid"))) >= count)
    return [int(path.stem) for path in home.glob("*.pid")]


def eventually(true: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_each_runs_in_a_process_group_of_its_own(
    home: Path, started: Callable[..., EmbeddedProcesses]
) -> None:
    started(GENTLE, STUBBORN)
    assert {os.getpgid(pid) for pid in pids(home, 2)} == set(pids(home, 2))


def test_one_that_dies_is_started_again(
    home: Path, started: Callable[..., EmbeddedProcesses], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.embedded.RESTART_AFTER_S", 0.05)
    started(GENTLE)
    (first,) = pids(home, 1)
    os.kill(first, signal.SIGKILL)
    assert len(pids(home, 2)) == 2


def test_stopping_ends_them_all_the_stubborn_by_force(
    home: Path, started: Callable[..., EmbeddedProcesses]
) -> None:
    companions = started(GENTLE, STUBBORN)
    found = pids(home, 2)
    companions.stop()
    assert not any(alive(pid) for pid in found)


def test_a_supervisor_that_spent_the_grace_time_on_its_child_may_still_end_in_order(
    home: Path, started: Callable[..., EmbeddedProcesses], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.embedded.MARGIN_S", 20)
    companions = started(BUSY, grace_s=0.1)
    pids(home, 1)
    companions.stop()
    assert (home / "given back").exists()


def test_one_that_cannot_be_started_is_tried_again(
    home: Path, started: Callable[..., EmbeddedProcesses], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.embedded.RESTART_AFTER_S", 0.05)
    launch = EmbeddedProcesses._launch
    refused: list[str] = []

    def sometimes(self: EmbeddedProcesses, module: str) -> None:
        if len(refused) < 1:
            refused.append(module)
            raise BlockingIOError
        launch(self, module)

    started(GENTLE)
    (first,) = pids(home, 1)
    monkeypatch.setattr(EmbeddedProcesses, "_launch", sometimes)
    os.kill(first, signal.SIGKILL)
    assert len(pids(home, 2)) == 2
    assert refused == [GENTLE]


def test_companions_that_never_started_can_be_stopped(home: Path) -> None:
    EmbeddedProcesses(Settings(home=home), [GENTLE]).stop()


def test_killing_the_parent_leaves_none_behind(home: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path;"
        "from api.embedded import EmbeddedProcesses; from core.settings import Settings;"
        f"EmbeddedProcesses(Settings(home=Path(sys.argv[1])), ['{GENTLE}', '{STUBBORN}']).start();"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(home)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as parent:
        found = pids(home, 2)
        assert all(alive(pid) for pid in found)
        parent.kill()
        eventually(lambda: not any(alive(pid) for pid in found))


def test_another_process_reads_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        home=tmp_path,
        admin_key=SecretStr("pk_secret"),
        embedded=False,
        lease_seconds=1.5,
        oidc_roles={"ml ops": "operator", 'a "group"': "admin"},
        root_folders=(tmp_path / "a b", tmp_path / "c"),
        import_buckets=(
            ImportBucket(
                name="a", access_key_id=SecretStr("b"), secret_access_key=SecretStr('c"d')
            ),
        ),
    )
    for name, value in to_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
