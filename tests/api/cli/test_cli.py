"""The command line."""

import re
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import httpx2 as httpx
import pytest
from pydantic import SecretStr

from api.operations.schemas import NewCollection
from cli.main import main, operators
from core.settings import Settings
from tests.support.api.service import EMBEDDED, KEY, running, settings_of
from tests.support.places import ROOT


@pytest.fixture(autouse=True)
def environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the test's own home, in the environment."""
    monkeypatch.setenv("PERENNIAL_HOME", str(home))
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", KEY)
    monkeypatch.setenv("PERENNIAL_EMBEDDED", "false")
    monkeypatch.setenv("PERENNIAL_MIN_FREE_BYTES", "1")


@EMBEDDED
def test_perennial_has_every_operators_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    added = project["entry-points"]["perennial.commands"]
    assert {name: resolve_name(place) for name, place in added.items()} == operators.commands


@EMBEDDED
def test_gc_takes_what_the_api_takes() -> None:
    options = {option.name for option in operators.commands["gc"].params}
    assert options == NewCollection.model_fields.keys()


def test_a_busy_port_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    assert f"Port {port} is in use" in capsys.readouterr().err


def test_an_open_bind_without_a_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", "")
    assert main(["serve", "--host", "0.0.0.0", "--port", "0"]) == 1
    assert "PERENNIAL_ADMIN_KEY" in capsys.readouterr().err


@EMBEDDED
def test_serve_prints_where_it_is_and_the_key_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "new"))
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", "")
    assert serve_once().count("pk_") == 1
    with running(Settings()):
        assert "pk_" not in capsys.readouterr().out


def serve_once() -> str:
    """Start a service, ask it how it is, interrupt it; all it printed."""
    command = [sys.executable, "-m", "cli", "serve", "--port", "0"]
    printed = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                printed += line
                if found := re.search(r"is running at (http://127\.0\.0\.1:\d+)", line):
                    assert httpx.get(f"{found[1]}/healthz", timeout=20).json() == {"status": "ok"}
                    process.send_signal(signal.SIGINT)
            assert "is running at" in printed
            process.wait(20)
        finally:
            process.kill()
    return printed


def test_key_prints_a_fresh_key(capsys: pytest.CaptureFixture[str]) -> None:
    main(["key"])
    main(["key"])
    first, second = capsys.readouterr().out.split()
    assert first.startswith("pk_")
    assert first != second


def test_a_new_key_is_let_in_beside_the_old_one_until_that_is_revoked(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new = "pk_the-next-key-that-tests-know-of"
    with running(settings_of(home)):
        pass
    with running(settings_of(home, admin_key=SecretStr(new))) as service:

        def answers() -> list[int]:
            keys = [{"Authorization": f"Bearer {key}"} for key in (KEY, new)]
            return [service.client.get("/v1/workers", headers=key).status_code for key in keys]

        assert answers() == [200, 200]
        monkeypatch.setenv("PERENNIAL_ADMIN_KEY", new)
        assert main(["key", "--revoke-others"]) == 0
        assert capsys.readouterr().out == "Keys revoked: 1.\n"
        assert answers() == [401, 200]


def test_nobody_revokes_the_last_key(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(settings_of(home)) as service:
        monkeypatch.setenv("PERENNIAL_ADMIN_KEY", "")
        assert main(["key", "--revoke-others"]) == 1
        assert "PERENNIAL_ADMIN_KEY" in capsys.readouterr().err
        assert service.client.get("/v1/workers").status_code == 200
