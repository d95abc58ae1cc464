"""The embedded service's other processes: kept alive, stopped, never left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.embedded import EmbeddedProcesses, to_environment
from core.settings import ImportBucket, Settings
from tests.support.places import ROOT
from tests.support.processes import is_alive, wait_for

GENTLE, STUBBORN = "gentle_companion", "stubborn_companion"

_GENTLE = """
import os, pathlib, sys, threading
pathlib.Path(os.environ["PERENNIAL_HOME"], f"{os.getpid()}.pid").touch()
assert sys.argv[1:] == ["--exit-with-parent"]
while os.read(0, 100):
    pass
"""

_STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _GENTLE


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where companions leave their process ids, with modules for them to run."""
    (tmp_path / f"{GENTLE}.py").write_text(_GENTLE)
    (tmp_path / f"{STUBBORN}.py").write_text(_STUBBORN)
    monkeypatch.setattr("api.embedded.MARGIN_S", 0.1)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    return tmp_path


@pytest.fixture
def started(home: Path) -> Iterator[Callable[..., EmbeddedProcesses]]:
    """Start companions; whatever a test does, they are stopped at its end."""
    made: list[EmbeddedProcesses] = []

    def start(*modules: str) -> EmbeddedProcesses:
        companions = EmbeddedProcesses(Settings(home=home, grace_seconds=0.3), modules)
        companions.start()
        made.append(companions)
        return companions

    yield start
    for companions in made:
        companions.stop()


def pids(home: Path, count: int) -> list[int]:
    """The ids that so many companions have left, once they have."""
    wait_for(lambda: len(list(home.glob("*.pid"))) >= count, seconds=20)
    return [int(path.stem) for path in home.glob("*.pid")]


def test_stopping_ends_them_all_the_stubborn_by_force(
    home: Path, started: Callable[..., EmbeddedProcesses]
) -> None:
    companions = started(GENTLE, STUBBORN)
    found = pids(home, 2)
    assert {os.getpgid(pid) for pid in found} == set(found)  # groups of their own
    companions.stop()
    assert not any(map(is_alive, found))


def test_one_that_dies_is_started_again_also_if_that_fails_at_first(
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
        assert all(map(is_alive, found))
        parent.kill()
        wait_for(lambda: not any(map(is_alive, found)), seconds=20)


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
