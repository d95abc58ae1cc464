"""The command line."""

import socket
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import pytest
from pydantic import SecretStr

from api.operations.schemas import NewCollection
from cli.main import main, operators
from core.settings import USAGE
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


@EMBEDDED
@pytest.mark.parametrize("command", operators.commands)
def test_a_wrong_setting_is_told_by_every_command(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERENNIAL_INFERENCE_PORT", "eighty")
    folder = ["site"] if command in {"backup", "restore"} else []
    with pytest.raises(SystemExit) as ended:
        main([command, *folder])
    assert ended.value.code == USAGE
    told = "perennial: PERENNIAL_INFERENCE_PORT must be a whole number, and is 'eighty'.\n"
    assert capsys.readouterr() == ("", told)


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


def test_a_new_key_is_let_in_beside_the_old_one_until_that_is_revoked(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["key"])
    new = capsys.readouterr().out.strip()
    with running(settings_of(home)):
        pass
    with running(settings_of(home, admin_key=SecretStr(new))) as service:

        def answers() -> list[int]:
            keys = [{"Authorization": f"Bearer {key}"} for key in (KEY, new)]
            return [service.client.get("/v1/workers", headers=key).status_code for key in keys]

        monkeypatch.setenv("PERENNIAL_ADMIN_KEY", "")
        assert main(["key", "--revoke-others"]) == 1  # or nobody would be let in any more
        assert "PERENNIAL_ADMIN_KEY" in capsys.readouterr().err
        assert answers() == [200, 200]
        monkeypatch.setenv("PERENNIAL_ADMIN_KEY", new)
        assert main(["key", "--revoke-others"]) == 0
        assert capsys.readouterr().out == "Keys revoked: 1.\n"
        assert answers() == [401, 200]
